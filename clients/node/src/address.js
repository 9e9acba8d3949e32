// Where the server listens, checked before any system call: Node cuts a long path and talks to another file.

import { statSync } from 'node:fs';

import { InvalidArgumentError } from './errors.js';
import { oneLine } from './shown.js';

// unix(7): sun_path has 108 bytes, one of them a NUL: behind a path, in front of an abstract name.
const MAX_BYTES = 107;

/** A socket's path, or `@name` for an abstract socket. */
export class Address {
  constructor(path) {
    if (typeof path !== 'string') {
      throw new InvalidArgumentError(`the socket's path must be a string, but it is a ${typeof path}`, 'Give a path or "@name".');
    }
    // A file may have any name: what would harm a terminal is escaped.
    this.shown = oneLine(Buffer.from(path));
    this.path = path;
    this.isAbstract = path.startsWith('@');
    const name = this.isAbstract ? path.slice(1) : path;
    if (name === '') {
      throw new InvalidArgumentError(
        "the socket's path is empty",
        'Give the path the server listens on, or "@name" for an abstract socket.',
      );
    }
    if (name.includes('\0')) {
      throw new InvalidArgumentError(
        "the socket's path contains a NUL byte, which no path can",
        'For an abstract socket write "@name".',
      );
    }
    if (/^[a-z0-9+.-]+:\/\//i.test(name)) {
      throw new InvalidArgumentError(
        `the socket's path must be a plain path, but it is the URL "${this.shown}"`,
        'Leave out its scheme.',
      );
    }
    const bytes = Buffer.byteLength(name);
    if (bytes > MAX_BYTES) {
      throw new InvalidArgumentError(
        `the socket's path may have at most ${MAX_BYTES} bytes, but "${this.shown}" has ${bytes}`,
        'Use a shorter one, or a path relative to the working directory.',
      );
    }
    this.kernelName = this.isAbstract ? `\0${name}` : name;
  }

  /** What is at the path in place of a socket that somebody could serve; undefined if nothing else is known. */
  impostor() {
    const found = this.#stat();
    if (found === undefined || found.isSocket()) {
      return undefined;
    }
    return found.isFile() ? 'a regular file' : found.isDirectory() ? 'a directory' : 'no socket';
  }

  /** Whether the file has no name left: a container has the old file mounted, and the server made a new one. */
  isDeleted() {
    return this.#stat()?.nlink === 0;
  }

  #stat() {
    try {
      return this.isAbstract ? undefined : statSync(this.kernelName, { throwIfNoEntry: false });
    } catch {
      return undefined;
    }
  }
}
