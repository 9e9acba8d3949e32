// Bytes and their meaning, the same for the clients of all languages.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Address } from '../src/address.js';
import * as ends from '../src/ends.js';
import { httpScanner } from '../src/http.js';
import { oneLine } from '../src/shown.js';
import { MAX_REPLY, data, rule, vectors } from './support.js';

const KINDS = new Map([
  [ends.Malformed, 'malformed_reply'],
  [ends.TooLarge, 'reply_too_large'],
  [ends.ErrorLine, 'server_error'],
]);

/** What a scanner makes of bytes that come in these pieces: what it found, undefined, or the kind of an error. */
function fed(scanner, pieces, closed) {
  let buffer = Buffer.alloc(0);
  let found;
  try {
    for (const piece of pieces) {
      buffer = Buffer.concat([buffer, piece]);
      found ??= scanner.look(buffer, false);
    }
    if (closed) {
      found ??= scanner.look(buffer, true);
    }
  } catch (error) {
    const kind = KINDS.get(error.constructor);
    if (kind === undefined) {
      throw error;
    }
    return kind;
  }
  return found;
}

/** In one piece, byte by byte, and cut in two at every place (of a long one: at some). */
function* cuts(whole) {
  yield [whole];
  if (whole.length > 1000) {
    for (const at of [1, 17, whole.length >> 1, whole.length - 1]) {
      yield [whole.subarray(0, at), whole.subarray(at)];
    }
    return;
  }
  yield [...whole].map((byte) => Buffer.of(byte));
  for (let at = 1; at < whole.length; at += 1) {
    yield [whole.subarray(0, at), whole.subarray(at)];
  }
}

for (const { name, input, kernel, says } of vectors('address.json')) {
  test(`address: ${name}`, () => {
    if (kernel !== undefined) {
      assert.equal(new Address(input).kernelName, kernel);
      return;
    }
    assert.throws(() => new Address(input), (error) => {
      assert.equal(error.kind, 'invalid_argument');
      says.forEach((word) => assert.ok(error.message.includes(word), error.message));
      return true;
    });
  });
}

for (const { name, bytes, reason, shown } of vectors('error_line.json')) {
  test(`error line: ${name}`, () => {
    const found = ends.errorReason(data(bytes));
    if (reason === null) {
      assert.equal(found, undefined);
      return;
    }
    assert.equal(found.toString(), reason);
    assert.equal(oneLine(found), shown);
  });
}

for (const { name, ends: described, bytes, closed, reply, rest, error } of vectors('ends.json')) {
  test(`end: ${name}`, () => {
    for (const pieces of cuts(data(bytes))) {
      const found = fed(rule(described).scanner(MAX_REPLY), pieces, closed);
      if (error !== undefined || reply === undefined) {
        assert.equal(found, error);
      } else {
        assert.deepEqual(found.reply, data(reply));
        assert.equal(found.used, bytes.length - rest.length);
      }
    }
  });
}

for (const vector of vectors('http.json')) {
  test(`http: ${vector.name}`, () => {
    for (const pieces of cuts(data(vector.bytes))) {
      const found = fed(httpScanner(vector.method, MAX_REPLY), pieces, vector.closed);
      if (vector.error !== undefined || vector.status === undefined) {
        assert.equal(found, vector.error);
        continue;
      }
      assert.equal(found.reply.status, vector.status);
      assert.deepEqual(found.reply.body, data(vector.body));
      assert.equal(found.keep, vector.keep);
      assert.equal(found.used, vector.bytes.length - vector.rest.length);
      if (vector.headers !== undefined) {
        assert.deepEqual(found.reply.headers, vector.headers);
      }
    }
  });
}
