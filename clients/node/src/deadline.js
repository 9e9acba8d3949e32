// A moment on the monotonic clock: setting the system's time moves it neither way.

import { InvalidArgumentError } from './errors.js';

// Ten minutes. A longer wait is a hang in all but name.
const LONGEST = 600_000;

export class Deadline {
  #start = performance.now();

  constructor(timeout) {
    this.timeout = timeout;
  }

  elapsed() {
    return performance.now() - this.#start;
  }

  remaining() {
    return Math.max(0, this.timeout - this.elapsed());
  }

  passed() {
    return this.elapsed() >= this.timeout;
  }
}

export function checkedTimeout(timeout) {
  // Written so that NaN, which is neither greater nor smaller than anything, is refused, too.
  if (typeof timeout !== 'number' || !(timeout > 0 && timeout <= LONGEST)) {
    throw new InvalidArgumentError(
      `the timeout must be more than 0 and at most ${LONGEST} milliseconds, but it is ${String(timeout)}`,
      'It is not in seconds.',
    );
  }
  return timeout;
}

/**
 * After one whole turn of the event loop: all that lies in the sockets by now has been read.
 *
 * The first setImmediate may come at the end of a turn that had looked at the sockets already; the second cannot.
 */
export function afterOneTurn(then) {
  setImmediate(() => setImmediate(then));
}
