// Calls a server on a Unix socket and never hangs: the whole reply or an error, within one deadline.

import { Pool, asBytes, callOnce, settings } from './call.js';
import { Ends, atClose, delimiterScanner } from './ends.js';
import { InvalidArgumentError } from './errors.js';
import { httpScanner, requestBytes } from './http.js';

export { atClose, atDelimiter, atJson, atLength, atNewline, atPredicate, atSilence } from './ends.js';
export {
  ConnectError,
  ConnectionLostError,
  InvalidArgumentError,
  MalformedReplyError,
  NotClosedError,
  ReplyTooLargeError,
  RequestNotTakenError,
  ServerError,
  TimeoutError,
  UnhangError,
} from './errors.js';
export { Response } from './http.js';

const NEWLINE = Buffer.from('\n');

/** Calls a server that answers once: one connection and one deadline for each call. */
export class Client {
  #settings;
  #ends;
  #halfClose;

  constructor(path, options = {}) {
    const { ends = atClose(), halfClose = true } = options;
    if (!(ends instanceof Ends)) {
      throw new InvalidArgumentError('ends must be a rule of this package', 'Say atNewline().');
    }
    this.#settings = settings(path, options);
    this.#ends = ends;
    this.#halfClose = halfClose;
  }

  async call(message, options = {}) {
    const { maxReply } = this.#settings;
    const newScanner = () => this.#ends.scanner(maxReply);
    return callOnce(this.#settings, asBytes(message), newScanner, this.#halfClose, options);
  }
}

/** Calls a server that answers each line with a line, as often as asked. */
export class LineClient {
  #pool;

  constructor(path, options = {}) {
    this.#pool = new Pool(settings(path, options));
  }

  async call(line, options = {}) {
    const given = asBytes(line);
    const bare = given.at(-1) === NEWLINE[0] ? given.subarray(0, -1) : given;
    if (bare.includes(NEWLINE)) {
      throw new InvalidArgumentError(
        'the request has a newline inside, which would make two requests of it',
        'Escape it, or send two.',
      );
    }
    return this.#pool.call(Buffer.concat([bare, NEWLINE]), () => delimiterScanner(NEWLINE, false), options);
  }

  close() {
    this.#pool.close();
  }
}

/** Calls an HTTP/1.1 server. An error status is a Response like any other. */
export class HttpClient {
  #pool;
  #maxReply;

  constructor(path, options = {}) {
    const shared = settings(path, options);
    this.#pool = new Pool(shared);
    this.#maxReply = shared.maxReply;
  }

  async request(method, target, options = {}) {
    const body = options.body === undefined ? undefined : asBytes(options.body);
    const request = requestBytes(method, target, options.headers, body);
    return this.#pool.call(request, () => httpScanner(method, this.#maxReply), options);
  }

  close() {
    this.#pool.close();
  }
}
