// HTTP/1.1 for one client: how a request is written, and where a reply ends. Pure.
//
// RFC 9112. Bytes that two readers could read in two ways are refused: two lengths, length and chunks, folded headers, bare newlines.

import { Malformed, TooLarge, beginsErrorLine, found } from './ends.js';
import { InvalidArgumentError } from './errors.js';
import { quoted } from './shown.js';

const MAX_HEAD = 64 * 1024;
const MAX_HEADERS = 100;
const MAX_CHUNK_LINE = 4096;

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?$/;
const PREFIX = 'HTTP/1.';
// They say where the request ends, or change what the connection is: this client's business.
const OURS = ['content-length', 'transfer-encoding', 'connection', 'upgrade', 'expect', 'te', 'trailer'];

/** Throws InvalidArgumentError for what would be read as something else than one request. */
export function requestBytes(method, target, headers, body) {
  if (typeof method !== 'string' || !TOKEN.test(method) || method === 'CONNECT') {
    throw new InvalidArgumentError(`no HTTP method for this client: ${quoted(method)}`, "Say 'GET' or 'POST'.");
  }
  if (typeof target !== 'string' || !/^[!-~]+$/.test(target)) {
    throw new InvalidArgumentError(
      `an HTTP target has only visible ASCII, but it is ${quoted(target)}`,
      'Encode it by encodeURI().',
    );
  }
  const pairs = Array.isArray(headers) ? headers : Object.entries(headers ?? {});
  const lines = [`${method} ${target} HTTP/1.1`];
  if (!pairs.some(([name]) => String(name).toLowerCase() === 'host')) {
    lines.push('Host: localhost');
  }
  for (const [name, value] of pairs) {
    if (!TOKEN.test(name) || OURS.includes(name.toLowerCase())) {
      throw new InvalidArgumentError(
        `not a header to be set here: ${quoted(name)}`,
        'The client says itself how long the body is.',
      );
    }
    // Latin-1 has no more: other characters would be cut to one byte, perhaps a line break.
    if (!/^[\x01-\x09\x0b\x0c\x0e-\xff]*$/.test(value)) {
      throw new InvalidArgumentError(
        `a header's value is Latin-1 without a line break or NUL, but it is ${quoted(value)}`,
        'Encode it.',
      );
    }
    lines.push(`${name}: ${value}`);
  }
  if (body !== undefined || ['POST', 'PUT', 'PATCH'].includes(method)) {
    lines.push(`Content-Length: ${body?.length ?? 0}`);
  }
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  return body === undefined ? head : Buffer.concat([head, body]);
}

/** Looks for the end of the reply to a request of `method`. */
export function httpScanner(method, maxReply) {
  return new HttpScanner(method, maxReply);
}

class HttpScanner {
  awaited = 'end of its HTTP reply';
  isHttp = true;
  // The head, and what frames the body, have limits of their own.
  overhead = Infinity;
  #method;
  #maxReply;
  #at = 0; // where the next thing begins
  #looked = 0; // for the end of the head, up to here
  #head;
  #body = [];
  #bodyLength = 0;
  #trailerLength = -1; // not in the trailer

  constructor(method, maxReply) {
    this.#method = method;
    this.#maxReply = maxReply;
  }

  look(buffer, closed) {
    while (this.#head === undefined) {
      const head = this.#readHead(buffer);
      if (head === undefined) {
        return undefined;
      }
      // 1xx comes before the reply.
      if (head.status >= 200) {
        this.#head = head;
      }
    }
    if (this.#head.chunked) {
      return this.#chunks(buffer);
    }
    if (this.#head.length === undefined) {
      if (buffer.length - this.#at > this.#maxReply) {
        throw new TooLarge();
      }
      return closed ? this.#found(Buffer.from(buffer.subarray(this.#at)), buffer.length) : undefined;
    }
    const end = this.#at + this.#head.length;
    return buffer.length >= end ? this.#found(Buffer.from(buffer.subarray(this.#at, end)), end) : undefined;
  }

  #found(body, used) {
    const { status, headers, keep } = this.#head;
    return found(new Response(status, headers, body), used, keep);
  }

  #readHead(buffer) {
    const prefix = buffer.toString('latin1', this.#at, this.#at + PREFIX.length);
    if (!PREFIX.startsWith(prefix)) {
      if (this.#at === 0 && beginsErrorLine(buffer)) {
        return undefined;
      }
      throw new Malformed(`no HTTP reply begins with ${quoted(prefix, 'latin1')}`);
    }
    const end = buffer.indexOf('\r\n\r\n', Math.max(this.#at, this.#looked - 3), 'latin1');
    this.#looked = buffer.length;
    const until = end < 0 ? buffer.length : end;
    if (until > MAX_HEAD) {
      throw new TooLarge();
    }
    const raw = buffer.toString('latin1', this.#at, until);
    if (raw.replaceAll('\r\n', '').includes('\n')) {
      throw new Malformed('the lines of its head end by a bare newline');
    }
    if (end < 0) {
      return undefined;
    }
    this.#at = this.#looked = end + 4;
    return parseHead(raw, this.#method, this.#maxReply);
  }

  #chunks(buffer) {
    for (;;) {
      const newline = buffer.indexOf('\n', this.#at, 'latin1');
      if ((newline < 0 ? buffer.length : newline) - this.#at > MAX_CHUNK_LINE) {
        throw new Malformed("a chunk's line is too long");
      }
      if (newline < 0) {
        return undefined;
      }
      const line = buffer.toString('latin1', this.#at, newline);
      if (!line.endsWith('\r')) {
        throw new Malformed("a chunk's line ends by a bare newline");
      }
      const start = newline + 1;
      if (this.#trailerLength >= 0) {
        this.#trailerLength += line.length;
        if (this.#trailerLength > MAX_HEAD) {
          throw new TooLarge();
        }
        this.#at = start;
        if (line === '\r') {
          return this.#found(Buffer.concat(this.#body), this.#at);
        }
        continue;
      }
      const size = chunkSize(line.slice(0, -1));
      if (this.#bodyLength + size > this.#maxReply) {
        throw new TooLarge();
      }
      if (size === 0) {
        this.#trailerLength = 0;
        this.#at = start;
        continue;
      }
      const tail = buffer.toString('latin1', start + size, start + size + 2);
      if (!'\r\n'.startsWith(tail)) {
        throw new Malformed('a chunk is longer than its size');
      }
      if (tail.length < 2) {
        return undefined;
      }
      this.#body.push(Buffer.from(buffer.subarray(start, start + size)));
      this.#bodyLength += size;
      this.#at = start + size + 2;
    }
  }
}

function chunkSize(line) {
  const digits = line.split(';', 1)[0].replace(/[ \t]+$/, '');
  if (!/^[0-9A-Fa-f]+$/.test(digits)) {
    throw new Malformed(`no size of a chunk: ${quoted(digits.slice(0, 40), 'latin1')}`);
  }
  return Number.parseInt(digits, 16);
}

function parseHead(raw, method, maxReply) {
  const [first, ...lines] = raw.split('\r\n');
  const statusLine = STATUS_LINE.exec(first);
  if (statusLine === null) {
    throw new Malformed(`no status line: ${quoted(first.slice(0, 80), 'latin1')}`);
  }
  if (lines.length > MAX_HEADERS) {
    throw new Malformed(`more than ${MAX_HEADERS} headers`);
  }
  const headers = lines.map(parseHeader);
  const status = Number(statusLine[2]);
  if (status === 101) {
    throw new Malformed('101 Switching Protocols, which was not asked for');
  }
  const values = (name) => headers.filter(([found]) => found.toLowerCase() === name).map(([, value]) => value);
  const lengths = values('content-length');
  const codings = values('transfer-encoding').map((coding) => coding.toLowerCase());
  if (lengths.length > 1 || (lengths.length > 0 && codings.length > 0)) {
    throw new Malformed('its length is said twice');
  }
  if (codings.length > 1 || (codings.length === 1 && codings[0] !== 'chunked')) {
    throw new Malformed(`a transfer coding other than chunked: ${quoted(codings, 'latin1')}`);
  }
  if (lengths.length === 1 && !/^[0-9]+$/.test(lengths[0])) {
    throw new Malformed(`no length: ${quoted(lengths[0].slice(0, 40), 'latin1')}`);
  }

  const closes = values('connection').some((value) => value.toLowerCase().split(',').some((one) => one.trim() === 'close'));
  const keep = statusLine[1] === '1' && !closes;
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) {
    return { status, headers, keep, length: 0, chunked: false };
  }
  if (codings.length > 0) {
    return { status, headers, keep, chunked: true };
  }
  if (lengths.length === 0) {
    return { status, headers, keep: false, length: undefined, chunked: false };
  }
  // A number of many digits is not exact, and much greater than any limit.
  const length = Number(lengths[0]);
  if (length > maxReply) {
    throw new TooLarge();
  }
  return { status, headers, keep, length, chunked: false };
}

function parseHeader(line) {
  const colon = line.indexOf(':');
  const name = line.slice(0, Math.max(colon, 0));
  const value = line.slice(colon + 1);
  // A name with a space at either end, or a line that begins with one (folded), is no token.
  if (!TOKEN.test(name) || /[\r\n\0]/.test(value)) {
    throw new Malformed(`no header: ${quoted(line.slice(0, 80), 'latin1')}`);
  }
  return [name, value.replace(/^[ \t]+|[ \t]+$/g, '')];
}

/** An HTTP reply. An error status is an answer like any other, not an error. */
export class Response {
  constructor(status, headers, body) {
    this.status = status;
    this.headers = headers;
    this.body = body;
  }

  /** The first of this name, in any case. */
  header(name) {
    return this.headers.find(([found]) => found.toLowerCase() === name.toLowerCase())?.[1];
  }
}
