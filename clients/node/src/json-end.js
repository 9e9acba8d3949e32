// Where a JSON value ends. Pure.

const SPACE = new Set(Buffer.from(' \t\r\n'));
const BEGINS_SCALAR = new Set(Buffer.from('-0123456789tfn'));
const ENDS_SCALAR = new Set(Buffer.from(' \t\r\n,:]}"[{'));
const SCALAR = /^(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)$/;
const [QUOTE, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = Buffer.from('"\\[]{}');

/** Follows brackets and strings, and never looks at a byte twice. */
export class JsonEnd {
  #at = 0; // the next byte to look at
  #open = []; // the bracket that closes each open one
  #inString = false;
  #scalarFrom = -1;

  /** How many bytes the value has; undefined if it is not complete. SyntaxError: it is no JSON. */
  find(buffer, closed) {
    if (this.#open.length === 0 && !this.#inString && this.#scalarFrom < 0 && !this.#begin(buffer)) {
      return undefined;
    }
    return this.#scalarFrom >= 0 ? this.#scalar(buffer, closed) : this.#nested(buffer);
  }

  #begin(buffer) {
    while (this.#at < buffer.length && SPACE.has(buffer[this.#at])) {
      this.#at += 1;
    }
    if (this.#at === buffer.length) {
      return false;
    }
    const first = buffer[this.#at];
    if (BEGINS_SCALAR.has(first)) {
      this.#scalarFrom = this.#at;
    } else if (first !== QUOTE && first !== OPEN_LIST && first !== OPEN_OBJECT) {
      throw new SyntaxError(`no JSON begins with the byte 0x${first.toString(16)}`);
    }
    return true;
  }

  #scalar(buffer, closed) {
    while (this.#at < buffer.length && !ENDS_SCALAR.has(buffer[this.#at])) {
      this.#at += 1;
    }
    // A number may go on: only a byte behind it, or the close, ends it.
    const isEnd = this.#at < buffer.length;
    if (!isEnd && !closed) {
      return undefined;
    }
    if (!SCALAR.test(buffer.toString('latin1', this.#scalarFrom, this.#at))) {
      if (!isEnd) {
        return undefined; // cut short by the close
      }
      throw new SyntaxError('no JSON value');
    }
    return this.#at;
  }

  #nested(buffer) {
    while (this.#at < buffer.length) {
      const byte = buffer[this.#at];
      this.#at += 1;
      if (this.#inString) {
        if (byte === BACKSLASH) {
          this.#at += 1; // whatever is escaped, also when it has not come yet
        }
        this.#inString = byte !== QUOTE;
      } else if (byte === QUOTE) {
        this.#inString = true;
      } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
        this.#open.push(byte === OPEN_LIST ? CLOSE_LIST : CLOSE_OBJECT);
      } else if ((byte === CLOSE_LIST || byte === CLOSE_OBJECT) && this.#open.pop() !== byte) {
        throw new SyntaxError(`a bracket is closed by "${String.fromCharCode(byte)}"`);
      } else if (byte !== CLOSE_LIST && byte !== CLOSE_OBJECT) {
        continue;
      }
      if (this.#open.length === 0 && !this.#inString) {
        return this.#at;
      }
    }
    return undefined;
  }
}
