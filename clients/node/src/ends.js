// How the server shows that its reply is complete. Pure: bytes in, the end out.

import { InvalidArgumentError } from './errors.js';
import { JsonEnd } from './json-end.js';

const NEWLINE = Buffer.from('\n');
const ERROR_PREFIX = Buffer.from('ERR ');
// A longer wait is a hang in all but name.
const LONGEST_SILENCE = 600_000;

/** The bytes break the rule. */
export class Malformed extends Error {}
/** The reply says itself that it is longer than allowed. */
export class TooLarge extends Error {}
/** `ERR reason` and a newline came in place of the reply. */
export class ErrorLine extends Error {
  constructor(line) {
    super();
    this.line = line;
  }
}

/** A whole reply, the first `used` bytes of what came. Not `keep`: the connection serves no other request. */
export function found(reply, used, keep = true) {
  return { reply, used, keep };
}

/**
 * A rule; `scanner(maxReply)` makes what looks for the end of one reply:
 *   look(buffer, closed)   found(...), or undefined for not yet; asked again each time more has come
 *   overhead               bytes beside the reply's own, before it counts as too large
 *   awaited                what did not come, for a message
 *   closes                 only the close ends it
 *   patience               milliseconds of silence that end it
 */
export class Ends {
  constructor(scanner) {
    this.scanner = scanner;
  }
}

/** The server closes or half-closes: the reply is every byte until then. The default. */
export function atClose() {
  return new Ends(() => closeScanner());
}

function closeScanner() {
  return {
    overhead: 0,
    awaited: 'close',
    closes: true,
    // No bytes at all look the same as a server that died.
    look: (buffer, closed) => (closed && buffer.length > 0 ? found(copy(buffer), buffer.length, false) : undefined),
  };
}

/** The reply is everything up to and with the first `delimiter`. */
export function atDelimiter(delimiter) {
  const bytes = typeof delimiter === 'string' ? Buffer.from(delimiter) : delimiter;
  if (!(bytes instanceof Uint8Array) || bytes.length === 0) {
    throw new InvalidArgumentError('a delimiter must be a string or bytes, at least one', "Say '\\0'.");
  }
  return new Ends(() => delimiterScanner(Buffer.from(bytes)));
}

/** The reply is one line, up to and with its newline. `ERR reason` is an error, whether the server closes or not. */
export function atNewline() {
  return new Ends(() => delimiterScanner(NEWLINE));
}

export function delimiterScanner(delimiter, keepIt = true) {
  let seen = 0;
  return {
    overhead: keepIt ? 0 : delimiter.length,
    awaited: delimiter.equals(NEWLINE) ? 'newline' : 'delimiter',
    look(buffer) {
      // The delimiter may have begun in the bytes that were looked at before.
      const at = buffer.indexOf(delimiter, Math.max(0, seen - delimiter.length + 1));
      seen = buffer.length;
      if (at < 0) {
        return undefined;
      }
      const used = at + delimiter.length;
      if (delimiter.equals(NEWLINE) && startsWith(buffer, ERROR_PREFIX)) {
        throw new ErrorLine(copy(buffer.subarray(0, used)));
      }
      return found(copy(buffer.subarray(0, keepIt ? used : at)), used);
    },
  };
}

/** The reply's length comes first, as an unsigned number of 1, 2, 4 or 8 bytes. It is not part of the reply. */
export function atLength(size = 4, order = 'big') {
  if (![1, 2, 4, 8].includes(size) || !['big', 'little'].includes(order)) {
    throw new InvalidArgumentError('a length has 1, 2, 4 or 8 bytes, and is big or little', "Most protocols have atLength(4, 'big').");
  }
  return new Ends((maxReply) => ({
    overhead: size,
    awaited: 'end that its length promised',
    look(buffer) {
      if (buffer.length < size) {
        return undefined;
      }
      const length = number(buffer.subarray(0, size), order);
      if (length > BigInt(maxReply)) {
        if (!beginsErrorLine(buffer)) {
          throw new TooLarge();
        }
        return undefined;
      }
      const used = size + Number(length);
      return buffer.length >= used ? found(copy(buffer.subarray(size, used)), used) : undefined;
    },
  }));
}

export function number(bytes, order) {
  let value = 0n;
  for (const byte of order === 'big' ? bytes : Buffer.from(bytes).reverse()) {
    value = value * 256n + BigInt(byte);
  }
  return value;
}

/** The reply is one JSON value. Brackets and strings are followed; whether it is valid inside is for a parser to say. */
export function atJson() {
  return new Ends(() => {
    const json = new JsonEnd();
    return {
      overhead: 0,
      awaited: 'end of its JSON',
      look(buffer, closed) {
        if (buffer[0] === ERROR_PREFIX[0] && beginsErrorLine(buffer)) {
          return undefined;
        }
        let used;
        try {
          used = json.find(buffer, closed);
        } catch (error) {
          throw new Malformed(error.message);
        }
        return used === undefined ? undefined : found(copy(buffer.subarray(0, used)), used);
      },
    };
  });
}

/** `whole` gets all bytes so far, each time more have come; it returns how many the reply has, or undefined. */
export function atPredicate(whole) {
  if (typeof whole !== 'function') {
    throw new InvalidArgumentError('a predicate must be a function', 'It gets a Buffer, and returns a number or undefined.');
  }
  return new Ends(() => ({
    overhead: 0,
    awaited: 'end, says the predicate',
    look(buffer) {
      const answer = whole(copy(buffer));
      if (answer === undefined || answer === null || answer === false) {
        return undefined;
      }
      const used = answer === true ? buffer.length : answer;
      if (!Number.isInteger(used) || used < 0 || used > buffer.length) {
        throw new InvalidArgumentError(
          `the predicate must return undefined or a number up to ${buffer.length}, but it returned ${String(used)}`,
          'It says how many of the bytes are the reply.',
        );
      }
      return found(copy(buffer.subarray(0, used)), used);
    },
  }));
}

/** A guess, for servers that show no end: so many ms without a byte, after the first one. A slow reply is cut. */
export function atSilence(milliseconds) {
  if (!(milliseconds > 0 && milliseconds <= LONGEST_SILENCE)) {
    throw new InvalidArgumentError(`the silence must be more than 0 and at most ${LONGEST_SILENCE} milliseconds`, 'Say atSilence(500).');
  }
  return new Ends(() => ({
    ...closeScanner(),
    closes: false,
    awaited: 'silence that would end it',
    patience: milliseconds,
  }));
}

/** Whether this may become an error line. Throws ErrorLine if it is one, for rules that no such line can fulfil. */
export function beginsErrorLine(buffer) {
  const length = Math.min(buffer.length, ERROR_PREFIX.length);
  if (!startsWith(ERROR_PREFIX, buffer.subarray(0, length))) {
    return false;
  }
  const newline = buffer.indexOf(NEWLINE);
  if (newline >= 0) {
    throw new ErrorLine(copy(buffer.subarray(0, newline + 1)));
  }
  return true;
}

/** The reason, if the whole reply is an error line: "ERR ", the reason, one newline, the end. */
export function errorReason(reply) {
  const isErrorLine = startsWith(reply, ERROR_PREFIX) && reply.indexOf(NEWLINE) === reply.length - 1;
  return isErrorLine ? copy(reply.subarray(ERROR_PREFIX.length, -1)) : undefined;
}

export function startsWith(buffer, prefix) {
  return buffer.length >= prefix.length && buffer.subarray(0, prefix.length).equals(prefix);
}

/** The buffer of a call is written on; a reply must not change under its reader. */
function copy(buffer) {
  return Buffer.from(buffer);
}
