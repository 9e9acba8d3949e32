// A whole call: connect, exchange, and close or keep.

import { Address } from './address.js';
import { connect } from './connect.js';
import { Deadline, afterOneTurn, checkedTimeout } from './deadline.js';
import { InvalidArgumentError, MalformedReplyError } from './errors.js';
import { Exchange } from './exchange.js';

// Enough for most replies, and little beside any machine's memory.
export const MAX_REPLY = 16 * 1024 * 1024;
// Milliseconds. Short enough that a person still waits, long enough for a healthy server under load.
export const TIMEOUT = 5000;
// Connections that wait for their next request; more calls at a time than that are rare, and each costs a descriptor.
const MAX_IDLE = 32;

/** What every client has: checked once, used by each call. */
export function settings(path, { timeout = TIMEOUT, maxReply = MAX_REPLY }) {
  if (!Number.isSafeInteger(maxReply) || maxReply < 1) {
    throw new InvalidArgumentError(
      `the longest allowed reply must be at least 1 byte, but it is ${String(maxReply)}`,
      `Leave maxReply out for ${MAX_REPLY}.`,
    );
  }
  return { address: new Address(path), timeout: checkedTimeout(timeout), maxReply };
}

/** Text is sent as UTF-8. A copy: what the caller does to a buffer meanwhile is not sent. */
export function asBytes(message) {
  if (typeof message === 'string' || message instanceof Uint8Array) {
    return Buffer.from(message);
  }
  throw new InvalidArgumentError(`a request is a string or bytes, but it is a ${typeof message}`, 'Encode it.');
}

/** One call's promise, its deadline, and the signal that may end it. */
class Call {
  constructor({ address, timeout, maxReply }, request, newScanner, options, resolve, reject) {
    this.address = address;
    this.maxReply = maxReply;
    this.request = request;
    this.newScanner = newScanner;
    this.deadline = new Deadline(options.timeout === undefined ? timeout : checkedTimeout(options.timeout));
    this.isOver = false;
    this.signal = options.signal;
    this.resolve = resolve;
    this.reject = reject;
    this.onAbort = () => this.finish(this.signal.reason);
    this.signal?.addEventListener('abort', this.onAbort, { once: true });
  }

  connect(then) {
    connect(this.address, this.deadline, () => this.isOver, (error, connection) => {
      if (error) {
        this.finish(error);
      } else {
        this.connection = connection;
        then(connection);
      }
    });
  }

  /** `then(exchange, error, reply)`; the caller of this closes or keeps the connection. */
  exchange(connection, { halfClose = false, isReused = false }, then) {
    this.connection = connection;
    const exchange = new Exchange(connection, {
      address: this.address,
      request: this.request,
      scanner: this.newScanner(),
      deadline: this.deadline,
      halfClose,
      maxReply: this.maxReply,
      isReused,
    });
    this.running = exchange;
    // Perhaps the event loop was held up while the reply came: what lies in the socket is read first.
    this.timer = setTimeout(() => afterOneTurn(() => exchange.late()), this.deadline.remaining());
    exchange.run((error, reply) => {
      clearTimeout(this.timer);
      then(exchange, error, reply);
    });
  }

  /** Once; a connection that is still ours is closed, so that no late reply is ever read. */
  finish(error, reply) {
    if (this.isOver) {
      return;
    }
    this.isOver = true;
    clearTimeout(this.timer);
    this.signal?.removeEventListener('abort', this.onAbort);
    this.running?.stop();
    this.connection?.destroy();
    if (error !== undefined) {
      this.reject(error);
    } else {
      this.resolve(reply);
    }
  }
}

function begin(shared, request, newScanner, options, work) {
  return new Promise((resolve, reject) => {
    options.signal?.throwIfAborted();
    work(new Call(shared, request, newScanner, options, resolve, reject));
  });
}

/** One connection for one call. */
export function callOnce(shared, request, newScanner, halfClose, options) {
  return begin(shared, request, newScanner, options, (call) => {
    call.connect((connection) => {
      call.exchange(connection, { halfClose }, (exchange, error, reply) => call.finish(error, reply));
    });
  });
}

/**
 * Connections that are kept between calls.
 *
 * A connection is taken out of the idle ones before its first byte is sent, and comes back only after a whole reply with
 * nothing behind it. So however a call ends (a deadline, an abort, an error), a connection with an answer outstanding is
 * closed, and no answer can reach another call.
 */
export class Pool {
  #shared;
  #idle = [];

  constructor(shared) {
    this.#shared = shared;
  }

  call(request, newScanner, options) {
    return begin(this.#shared, request, newScanner, options, (call) => this.#attempt(call));
  }

  /** Closes the idle connections. Later calls open new ones. */
  close() {
    for (const connection of this.#idle.splice(0)) {
      connection.destroy();
    }
  }

  #attempt(call) {
    const connection = this.#idle.pop();
    if (connection === undefined) {
      call.connect((fresh) => {
        fresh.listener = new Quiet();
        this.#whenQuiet(call, fresh, false);
      });
      return;
    }
    connection.ref();
    call.connection = connection;
    this.#whenQuiet(call, connection, true);
  }

  /** Bytes from before the request may lie in the socket: they would be taken for the answer. */
  #whenQuiet(call, connection, isReused) {
    afterOneTurn(() => {
      if (call.isOver) {
        return;
      }
      const quiet = connection.listener;
      if (isReused && quiet.isBroken) {
        connection.destroy();
        this.#attempt(call);
      } else if (quiet.said.length > 0) {
        call.finish(unasked(call.address, quiet.said));
      } else {
        this.#exchange(call, connection, isReused, quiet);
      }
    });
  }

  #exchange(call, connection, isReused, quiet) {
    call.exchange(connection, { isReused }, (exchange, error, reply) => {
      // The server had closed the idle connection, and got nothing of this request: not a repetition.
      if (error !== undefined && exchange.notDelivered) {
        connection.destroy();
        this.#attempt(call);
        return;
      }
      if (error === undefined && exchange.isClean && this.#idle.length < MAX_IDLE) {
        call.connection = undefined;
        this.#keep(connection);
      }
      call.finish(error, reply);
    });
    // A fresh connection may have ended while we waited for it to be quiet.
    if (quiet.isBroken) {
      quiet.tell(connection.listener);
    }
  }

  #keep(connection) {
    connection.listener = new Quiet(() => {
      const at = this.#idle.indexOf(connection);
      if (at >= 0) {
        this.#idle.splice(at, 1);
        connection.destroy();
      }
    });
    // A process that has nothing else to do may end.
    connection.unref();
    this.#idle.push(connection);
  }
}

/** Listens to a connection that should say nothing. */
class Quiet {
  said = Buffer.alloc(0);
  #events = [];
  #onNoise;

  constructor(onNoise = () => {}) {
    this.#onNoise = onNoise;
  }

  get isBroken() {
    return this.#events.length > 0;
  }

  connected() {}

  read(bytes) {
    this.#events.push((listener) => listener.read(bytes));
    if (bytes !== null) {
      this.said = Buffer.concat([this.said, bytes]);
    }
    this.#onNoise();
  }

  failed(error) {
    this.#events.push((listener) => listener.failed(error));
    this.#onNoise();
  }

  tell(listener) {
    for (const event of this.#events) {
      event(listener);
    }
  }
}

function unasked(address, said) {
  return new MalformedReplyError(
    `the server at ${address.shown} sent ${said.length} bytes before it was asked`,
    'They would be taken for the answer: this is no server that answers one request after another.',
    { address: address.shown, reply: said, mayHaveRun: false },
  );
}
