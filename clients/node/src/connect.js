// Opens the connection. On a Unix socket this succeeds or fails at once; only a full accept queue is worth a wait.

import { readFileSync, readSync } from 'node:fs';
import { Socket } from 'node:net';

import { ConnectError } from './errors.js';
import { time } from './shown.js';

// Milliseconds. A busy server takes the next connection within about one.
const FIRST_PAUSE = 1;
// Milliseconds. Twenty attempts a second cost nothing, and a free place is still found soon.
const LONGEST_PAUSE = 50;

/**
 * A socket whose listener hears everything, in order: `connected()`, `read(bytes)`, `read(null)` at the end, `failed(error)`.
 *
 * Node's own stream destroys itself when a write fails, and loses what the server said before it stopped reading: why it
 * refused. So errors and bytes are taken before the stream machinery gets them, and only the listener closes.
 */
export class Connection extends Socket {
  constructor(listener) {
    // allowHalfOpen: the server may end its reply while the request is still being sent.
    super({ allowHalfOpen: true });
    this.listener = listener;
    this.once('connect', () => {
      // Reading begins before anything is sent: after a failed write the stream would not begin any more.
      this.read(0);
      this.listener.connected();
    });
  }

  push(bytes) {
    if (bytes === null && this.#wasReset()) {
      this.listener.failed(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', syscall: 'read' }));
    } else {
      this.listener.read(bytes);
    }
    return true;
  }

  /**
   * Whether the end is in truth a reset. libuv reports a clean end if the server has gone by the time the last bytes are
   * read (POLLHUP after a short read) and leaves the kernel's ECONNRESET unread: a reply cut short would pass for whole.
   */
  #wasReset() {
    const descriptor = this._handle?.fd;
    if (!(descriptor >= 0)) {
      return false;
    }
    try {
      readSync(descriptor, Buffer.alloc(1)); // non-blocking, and nothing is left to be read
    } catch (error) {
      return error.code === 'ECONNRESET';
    }
    return false;
  }

  destroy(error) {
    if (error) {
      this.listener.failed(error);
      return this;
    }
    return super.destroy();
  }
}

/** Connects, again while the accept queue is full. `done(error, connection)`; `isOver()`: the call has ended otherwise. */
export function connect(address, deadline, isOver, done) {
  let pause = FIRST_PAUSE;
  attempt();

  function attempt() {
    if (isOver()) {
      return;
    }
    const connection = new Connection({
      connected: () => (isOver() ? connection.destroy() : done(undefined, connection)),
      read: () => {},
      failed: (error) => {
        connection.destroy();
        if (isOver()) {
          return;
        }
        if (error.code !== 'EAGAIN' || deadline.passed()) {
          done(failure(address, error, deadline.elapsed()));
          return;
        }
        // A random share of the pause, or all the clients that wait would come back in step.
        setTimeout(attempt, Math.min(pause * (0.5 + Math.random() / 2), deadline.remaining()));
        pause = Math.min(2 * pause, LONGEST_PAUSE);
      },
    });
    try {
      connection.connect({ path: address.kernelName });
    } catch (error) {
      connection.listener.failed(error);
    }
  }
}

function failure(address, error, elapsed) {
  // The kernel says "refused" for a file that is no socket, too.
  const impostor = error.code === 'ECONNREFUSED' ? address.impostor() : undefined;
  const [kind, advice] = reason(address, error.code, impostor, elapsed);
  const what = impostor === undefined ? `${error.code ?? error.message}` : `it is ${impostor}`;
  return new ConnectError(kind, what, advice, { address: address.shown, code: error.code, elapsed });
}

function reason(address, code, impostor, elapsed) {
  if (impostor !== undefined || code === 'EPROTOTYPE') {
    return ['not_a_stream_socket', 'Only a stream socket can be called: correct the path.'];
  }
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return [
        'no_such_file',
        address.isAbstract
          ? 'Start the server, or correct the name.'
          : 'Start the server, or correct the path. A service with PrivateTmp=yes has a /tmp of its own.',
      ];
    case 'ECONNREFUSED':
      if (address.isAbstract && isBound(address)) {
        return ['cannot_connect', `${PADDED} Use a path, or a newer Node.`];
      }
      return ['nobody_listens', nobodyListens(address)];
    case 'EACCES':
      return [
        'permission_denied',
        'The user who calls needs write permission on the socket, and x on every directory above it.',
      ];
    case 'EAGAIN':
      return [
        'queue_full',
        `The server listens, but its queue of waiting connections stayed full for ${time(elapsed)}: it is stuck or overloaded.`,
      ];
    case 'EMFILE':
    case 'ENFILE':
      return [
        'no_descriptors',
        'This process (EMFILE) or machine (ENFILE) has no file descriptor left: look for a leak, or raise ulimit -n.',
      ];
    default:
      return ['cannot_connect', 'The fault is probably on this side.'];
  }
}

const PADDED =
  `This Node (libuv ${process.versions.uv}) cannot reach it: it fills an abstract name up to 107 bytes with NULs, which is`
  + ' another name.';

/** Whether somebody has just this abstract name: proc(5), /proc/net/unix, which shows it with "@" in front. */
function isBound(address) {
  try {
    return readFileSync('/proc/net/unix', 'utf8').split('\n').some((line) => line.endsWith(` ${address.path}`));
  } catch {
    return false;
  }
}

function nobodyListens(address) {
  if (address.isDeleted()) {
    return 'This is a mount of a deleted file (link count 0): the server has made a new one. Mount the directory, not the file.';
  }
  const start = 'Nobody listens on it: start the server.';
  return address.isAbstract ? start : `${start} The file of a server that was killed stays behind.`;
}
