// What a reply that never ended looks like: so which rule would have seen its end.

import { number } from './ends.js';
import { JsonEnd } from './json-end.js';

// Every way to take a half-close for the end that was met so far.
export const HALF_CLOSE =
  "The request was half-closed; a server that takes this for the end of everything (Node.js, asyncio and Go's net/http do)"
  + ' wants halfClose: false';

/** A sentence that names the rule. */
export function matchingEnd(reply) {
  if (reply.toString('latin1', 0, 7) === 'HTTP/1.') {
    return 'It speaks HTTP: use HttpClient.';
  }
  if (reply.indexOf('\n') === reply.length - 1) {
    return 'If each reply ends with a newline, use atNewline().';
  }
  if (isJson(reply)) {
    return 'The reply is whole JSON: use atJson().';
  }
  if (reply.at(-1) === 0) {
    return "If each reply ends with a NUL, use atDelimiter('\\0').";
  }
  for (const size of [4, 2, 8]) {
    for (const order of ['big', 'little']) {
      if (reply.length > size && number(reply.subarray(0, size), order) === BigInt(reply.length - size)) {
        return `It begins with its length: use atLength(${size}, '${order}').`;
      }
    }
  }
  return 'If something else marks the end, see the rules for ends.';
}

function isJson(reply) {
  try {
    return '{['.includes(reply.toString('latin1', 0, 1)) && new JsonEnd().find(reply, true) === reply.length;
  } catch {
    return false;
  }
}
