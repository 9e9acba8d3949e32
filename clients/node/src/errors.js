// Everything this package throws. Each error says whose fault it was, what to do next, and whether the request may have run.

import { oneLine, time } from './shown.js';

const NOTHING = Buffer.alloc(0);

/** The base of all. index.d.ts describes the fields. */
export class UnhangError extends Error {
  constructor(kind, fault, message, advice, { address = '', mayHaveRun = true, reply = NOTHING, code } = {}) {
    super(`${message}. ${advice}`);
    this.name = new.target.name;
    this.kind = kind;
    this.fault = fault;
    this.advice = advice;
    this.address = address;
    this.mayHaveRun = mayHaveRun;
    this.reply = reply;
    this.code = code;
  }
}

/** A mistake in the calling code. Nothing was sent. */
export class InvalidArgumentError extends UnhangError {
  constructor(message, advice) {
    super('invalid_argument', 'caller', message, advice, { mayHaveRun: false });
  }
}

/** No connection, so the server saw nothing: repeating is safe. */
export class ConnectError extends UnhangError {
  constructor(kind, found, advice, { address, code, elapsed }) {
    const fault = kind === 'queue_full' ? 'server' : 'setup';
    super(kind, fault, `cannot connect to ${address} (${found})`, advice, { address, code, mayHaveRun: false });
    this.elapsed = elapsed;
  }
}

/** No whole reply in time. */
export class TimeoutError extends UnhangError {
  constructor(message, advice, { address, reply, phase, timeout, mayHaveRun }) {
    const fault = phase === 'send' || reply.length > 0 ? 'server' : 'unclear';
    super('timeout', fault, message, advice, { address, reply, mayHaveRun });
    this.phase = phase;
    this.timeout = timeout;
  }
}

/** A reply came, and the server had not closed at the deadline. */
export class NotClosedError extends UnhangError {
  // Silent for less than this part of the timeout, the server may have been sending still.
  static SHORT = 0.1;

  constructor(advice, { address, reply, silentFor, timeout }) {
    const mayBeComing = silentFor < NotClosedError.SHORT * timeout;
    super(
      'not_closed',
      'server',
      mayBeComing
        ? `the server at ${address} sent ${reply.length} bytes, the last of them ${time(silentFor)} before the timeout of`
          + ` ${time(timeout)}, and never closed the connection`
        : `the server at ${address} sent ${reply.length} bytes, then nothing for ${time(silentFor)}, and never closed the`
          + ` connection within ${time(timeout)}`,
      mayBeComing ? `The reply may still have been coming: raise the timeout. If it was whole: ${advice}` : advice,
      { address, reply },
    );
    this.silentFor = silentFor;
    this.timeout = timeout;
  }
}

/** The server closed or reset the connection before a whole reply. An empty reply counts as none. */
export class ConnectionLostError extends UnhangError {
  constructor(message, advice, more) {
    super('connection_lost', 'server', message, advice, more);
  }
}

/** The server took a part of the request, and closed. */
export class RequestNotTakenError extends UnhangError {
  constructor({ address, reply, taken, total, code }) {
    super(
      'request_not_taken',
      'server',
      `the server at ${address} took about ${taken} of ${total} bytes of the request, answered ${reply.length} bytes and`
        + ' read no more',
      'Its answer, if any, is to that part. A server must read the whole request, or refuse it in words.',
      { address, reply, code },
    );
    this.taken = taken;
    this.total = total;
  }
}

export class ReplyTooLargeError extends UnhangError {
  constructor({ address, limit }) {
    super(
      'reply_too_large',
      'unclear',
      `the reply of the server at ${address} is longer than the ${limit} bytes allowed`,
      'If it may be, give the client a greater maxReply.',
      { address },
    );
    this.limit = limit;
  }
}

/** The server answered `ERR reason`. */
export class ServerError extends UnhangError {
  constructor(reason, { address, reply }) {
    super(
      'server_error',
      'server',
      `the server at ${address} answered with an error: ${oneLine(reason)}`,
      "It is the server's own word: see its log. Unless the reason says otherwise, the request may have run.",
      { address, reply },
    );
    this.reason = reason.toString();
  }
}

/** The rule that the caller chose cannot read the server's bytes. */
export class MalformedReplyError extends UnhangError {
  constructor(message, advice, more) {
    super('malformed_reply', 'server', message, advice, more);
  }
}
