// One request and its reply on a connection.

import * as advice from './advice.js';
import { ErrorLine, Malformed, TooLarge, errorReason, found } from './ends.js';
import {
  ConnectionLostError,
  MalformedReplyError,
  NotClosedError,
  ReplyTooLargeError,
  RequestNotTakenError,
  ServerError,
  TimeoutError,
} from './errors.js';
import { time } from './shown.js';

// A socket takes this much at once or not at all, so a piece that failed was not taken in part.
const WRITE_SIZE = 64 * 1024;

/** Sends and receives at the same time: a server that answers while it reads would wait for us as we wait for it. */
export class Exchange {
  #connection;
  #address;
  #request;
  #scanner;
  #deadline;
  #halfClose;
  #maxReply;
  #isReused;
  #done;
  #sent = 0;
  #sending = true;
  #sendError;
  #buffer = Buffer.alloc(0);
  #length = 0;
  #heardAt = 0;
  #closed = false;
  #resetError;
  #silence;
  #found;
  #isOver = false;

  constructor(connection, { address, request, scanner, deadline, halfClose, maxReply, isReused }) {
    this.#connection = connection;
    this.#address = address.shown;
    this.#request = request;
    this.#scanner = scanner;
    this.#deadline = deadline;
    this.#halfClose = halfClose;
    this.#maxReply = maxReply;
    this.#isReused = isReused;
  }

  /** `done(error)` or `done(undefined, reply)`, once. The caller closes the connection. */
  run(done) {
    this.#done = done;
    this.#connection.listener = this;
    this.#send();
  }

  /** Nothing more is heard. */
  stop() {
    this.#isOver = true;
    clearTimeout(this.#silence);
  }

  /** Whether the connection may serve another request: all was sent, and nothing came behind the reply. */
  get isClean() {
    return (
      this.#found?.keep === true
      && this.#found.used === this.#length
      && !this.#sending
      && this.#sendError === undefined
      && !this.#ended
    );
  }

  /**
   * Whether the server had ended an idle connection before it was sent a byte: so it cannot have run the request. Its
   * words meanwhile answer nobody.
   */
  get notDelivered() {
    return this.#isReused && this.#nothingTaken;
  }

  /** The deadline has passed, and all that had come was read. */
  late() {
    this.#end(this.#whyLate());
  }

  // What the connection says

  connected() {}

  read(bytes) {
    if (this.#isOver) {
      return;
    }
    if (bytes === null) {
      this.#closed = true;
      // A clean end is no reason to stop sending: a server may finish its reply and still read. If it closed both ways,
      // the next write fails.
      if (errorReason(this.#reply) !== undefined) {
        this.#sending = false;
      }
    } else {
      this.#append(bytes);
      this.#heardAt = performance.now();
    }
    this.#go();
  }

  failed(error) {
    if (this.#isOver || error.syscall === 'shutdown') {
      return;
    }
    if (error.syscall === 'write') {
      // The server reads no more, but what it said before is still there to be received.
      this.#sendError ??= error.code;
    } else {
      this.#resetError = error.code;
    }
    this.#sending = false;
    if (this.notDelivered) {
      this.#end(this.#withoutReply());
    } else {
      this.#go();
    }
  }

  // The exchange

  /** A piece counts as sent when Node says so, which may be after its answer has come: so only a failed write is proof. */
  get #nothingTaken() {
    return this.#sent === 0 && this.#sendError !== undefined;
  }

  get #reply() {
    return this.#buffer.subarray(0, this.#length);
  }

  get #ended() {
    return this.#closed || this.#resetError !== undefined;
  }

  #append(bytes) {
    if (this.#length + bytes.length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, this.#length + bytes.length));
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    bytes.copy(this.#buffer, this.#length);
    this.#length += bytes.length;
  }

  #send() {
    if (this.#isOver || !this.#sending) {
      return;
    }
    if (this.#sent === this.#request.length) {
      this.#sending = false;
      if (this.#halfClose) {
        this.#connection.end();
      }
      this.#go();
      return;
    }
    const piece = this.#request.subarray(this.#sent, this.#sent + WRITE_SIZE);
    this.#connection.write(piece, (error) => {
      if (error) {
        this.failed(error);
      } else {
        this.#sent += piece.length;
        this.#send();
      }
    });
  }

  /** Looks at what came, and ends the exchange if there is nothing to wait for. */
  #go() {
    const failure = this.#look();
    if (failure !== undefined) {
      this.#end(failure);
    } else if (this.#found !== undefined) {
      this.#end(undefined, this.#found.reply);
    } else if (this.#ended && !this.#sending) {
      this.#end(this.#withoutReply());
    } else if (this.#scanner.patience !== undefined && this.#length > 0 && !this.#sending) {
      clearTimeout(this.#silence);
      this.#silence = setTimeout(() => this.#wasSilent(), this.#scanner.patience);
    }
  }

  #end(error, reply) {
    if (!this.#isOver) {
      this.stop();
      this.#done(error, reply);
    }
  }

  #look() {
    const isEnd = this.#closed && !this.#sending && this.#sendError === undefined;
    if (isEnd && errorReason(this.#reply) !== undefined) {
      return undefined; // #withoutReply() gives it
    }
    try {
      this.#found = this.#scanner.look(this.#reply, isEnd);
    } catch (error) {
      return this.#whyNot(error);
    }
    const length = Buffer.isBuffer(this.#found?.reply) ? this.#found.reply.length : 0;
    const isTooLong =
      length > this.#maxReply
      || (this.#found === undefined && this.#length > this.#maxReply + this.#scanner.overhead);
    return isTooLong ? this.#tooLarge() : undefined;
  }

  #wasSilent() {
    this.#found = found(Buffer.from(this.#reply), this.#length, false);
    this.#end(undefined, this.#found.reply);
  }

  // Why there is no reply

  #whyNot(error) {
    if (error instanceof ErrorLine) {
      return this.#serverError(error.line);
    }
    if (error instanceof TooLarge) {
      return this.#tooLarge();
    }
    if (error instanceof Malformed) {
      return new MalformedReplyError(
        `the reply of the server at ${this.#address} breaks its rule: ${error.message}`,
        'The server and this client do not speak the same protocol, or its reply is damaged.',
        { address: this.#address, reply: Buffer.from(this.#reply) },
      );
    }
    return error; // a predicate's own
  }

  #serverError(line) {
    return new ServerError(errorReason(line), { address: this.#address, reply: Buffer.from(line) });
  }

  #tooLarge() {
    return new ReplyTooLargeError({ address: this.#address, limit: this.#maxReply });
  }

  /** The server has ended the conversation. */
  #withoutReply() {
    const reply = Buffer.from(this.#reply);
    const address = this.#address;
    if (errorReason(reply) !== undefined) {
      return this.#serverError(reply);
    }
    const total = this.#request.length;
    if (this.#sendError !== undefined && this.#sent > 0 && this.#resetError === undefined) {
      return new RequestNotTakenError({ address, reply, taken: this.#sent, total, code: this.#sendError });
    }

    const mayHaveRun = !this.#nothingTaken;
    const code = this.#resetError ?? this.#sendError;
    const received = reply.length > 0 ? `, after ${reply.length} bytes of reply` : '';
    let next = mayHaveRun
      ? 'The request may have run: repeat it only if that does no harm.'
      : 'The request has not run: repeating it is safe.';
    if (this.#halfClose && reply.length === 0 && code === undefined) {
      next = `${advice.HALF_CLOSE}. Else see the server's log. ${next}`;
    }
    return new ConnectionLostError(`the server at ${address} ${this.#howLost(reply)}${received}`, next, {
      address,
      mayHaveRun,
      reply,
      code,
    });
  }

  #howLost(reply) {
    if (this.#resetError !== undefined) {
      return `ended, or closed the connection without having read all that it was sent (${this.#resetError})`;
    }
    return reply.length === 0
      ? 'closed the connection without a reply'
      : `closed the connection before the ${this.#scanner.awaited}`;
  }

  #whyLate() {
    const reply = Buffer.from(this.#reply);
    const timeout = this.#deadline.timeout;
    const address = this.#address;
    const mayHaveRun = !this.#nothingTaken;
    const late = (message, next, phase) =>
      new TimeoutError(message, next, { address, reply, phase, timeout, mayHaveRun });
    if (this.#sending || this.#sendError !== undefined) {
      return late(
        `the server at ${address} did not take the whole request within ${time(timeout)}: ${this.#sent} of`
          + ` ${this.#request.length} bytes`,
        'It reads too slowly, or not at all.',
        'send',
      );
    }
    if (reply.length > 0 && this.#scanner.closes) {
      return new NotClosedError(
        `The server must close or half-close the connection after its reply. ${advice.matchingEnd(reply)}`,
        { address, reply, timeout, silentFor: performance.now() - this.#heardAt },
      );
    }
    if (reply.length > 0) {
      return late(
        `the server at ${address} sent ${reply.length} bytes, but no ${this.#scanner.awaited} within ${time(timeout)}`,
        this.#scanner.isHttp
          ? 'Its reply is still coming, or it is shorter than it says.'
          : `Its reply may have another end. ${advice.matchingEnd(reply)}`,
        'receive',
      );
    }
    return late(
      `the server at ${address} took the request and sent nothing within ${time(timeout)}`,
      'It is still working, or it waits for more than it was sent, such as a newline.'
        + (this.#halfClose ? ` ${advice.HALF_CLOSE}.` : ''),
      'receive',
    );
  }
}
