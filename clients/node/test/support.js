// The bad server and the vectors.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { atClose, atDelimiter, atJson, atLength, atNewline, atSilence } from '../src/index.js';

const SPEC = fileURLToPath(new URL('../../../spec/', import.meta.url));
export const BAD_SERVER = join(SPEC, 'bad_server.py');
export const CALLS = join(SPEC, 'vectors', 'calls.json');
// The longest allowed reply that ends.json and http.json name.
export const MAX_REPLY = 1_000_000;
// Milliseconds for calls that must succeed: generous, for a loaded machine.
export const PATIENCE = 60_000;

export function vectors(name) {
  return JSON.parse(readFileSync(join(SPEC, 'vectors', name), 'utf8')).cases;
}

/** Bytes, as the vectors write them. */
export function data(value) {
  return typeof value === 'string'
    ? Buffer.from(value, 'latin1')
    : Buffer.alloc(value.times, value.repeat, 'latin1');
}

/** The rule that a vector describes. */
export function rule(described) {
  switch (described.at) {
    case 'close': return atClose();
    case 'newline': return atNewline();
    case 'delimiter': return atDelimiter(data(described.delimiter));
    case 'length': return atLength(described.bytes, described.order);
    case 'json': return atJson();
    case 'silence': return atSilence(described.seconds * 1000);
    default: throw new Error(described.at);
  }
}

export function temporaryDirectory(test) {
  const directory = mkdtempSync(join(tmpdir(), 'unhang-'));
  test.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A process that has said "ready"; it ends with its standard input, at the end of the test. */
export async function start(test, command, ...args) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  test.after(async () => {
    const ended = child.exitCode === null ? once(child, 'exit') : undefined;
    child.stdin.end();
    await ended;
  });
  let said = '';
  for await (const chunk of child.stdout) {
    said += chunk;
    if (said.endsWith('\n')) {
      break;
    }
  }
  if (said !== 'ready\n') {
    throw new Error(`not ready: ${said}`);
  }
  return child;
}

/** A bad server in this mode; gives its path. */
export async function serve(test, mode, argument = '') {
  const path = join(temporaryDirectory(test), 's');
  await start(test, 'python3', BAD_SERVER, mode, path, argument);
  return path;
}
