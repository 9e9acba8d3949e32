// What is not in the vectors: the kernel, aborts, a blocked event loop, many at a time, real servers.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import {
  Client,
  HttpClient,
  LineClient,
  atDelimiter,
  atLength,
  atNewline,
  atPredicate,
  atSilence,
} from '../src/index.js';
import { BAD_SERVER, PATIENCE, serve, start, temporaryDirectory } from './support.js';

const HERE = fileURLToPath(new URL('.', import.meta.url));

async function fails(path, kind, options = { timeout: PATIENCE }) {
  const error = await new Client(path, options).call('hello').then(() => assert.fail('a reply'), (reason) => reason);
  assert.equal(error.kind, kind, error.message);
  assert.equal(error.mayHaveRun, false);
  return error;
}

test('nothing at the path', async (t) => {
  const path = join(temporaryDirectory(t), 's');
  assert.equal((await fails(path, 'no_such_file')).code, 'ENOENT');
  writeFileSync(path, '');
  await fails(join(path, 'below'), 'no_such_file');
  assert.match((await fails(path, 'not_a_stream_socket')).message, /a regular file/);
  mkdirSync(`${path}.d`);
  assert.match((await fails(`${path}.d`, 'not_a_stream_socket')).message, /a directory/);
});

test('a name that would harm a terminal', async (t) => {
  const error = await fails(`${temporaryDirectory(t)}/\u202e\x1b[2J`, 'no_such_file');
  assert.ok(error.message.includes('/\\u{202e}\\x1b[2J ('), error.message);
});

test('the server is gone', async (t) => {
  const path = join(temporaryDirectory(t), 's');
  const code = 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])';
  await promisify(execFile)('python3', ['-c', code, path]);
  assert.match((await fails(path, 'nobody_listens')).message, /stays behind/);
  assert.doesNotMatch((await fails(`@unhang-none-${process.pid}`, 'nobody_listens')).message, /stays behind/);
});

test('an abstract name', async (t) => {
  const name = `@unhang-node-${process.pid}-${Date.now()}`;
  await start(t, 'python3', BAD_SERVER, 'echo', name);
  // Up to libuv 1.46 at least, Node asks for another name. Then it must say so.
  const outcome = await new Client(name, { timeout: PATIENCE }).call('hello').catch((error) => error);
  if (outcome instanceof Error) {
    assert.equal(outcome.kind, 'cannot_connect');
    assert.match(outcome.message, /This Node .* cannot reach it/);
  } else {
    assert.equal(String(outcome), 'hello');
  }
});

test('an abstract name that fills its 107 bytes', async (t) => {
  const name = `@${'n'.repeat(90)}${process.pid}`.padEnd(108, 'n');
  await start(t, 'python3', BAD_SERVER, 'echo', name);
  assert.equal(String(await new Client(name, { timeout: PATIENCE }).call('hello')), 'hello');
});

test('no permission', { skip: process.getuid() !== 0 && 'only root can become somebody who may not connect' }, async (t) => {
  const path = await serve(t, 'echo');
  chmodSync(path, 0o600);
  chmodSync(join(path, '..'), 0o755);
  process.seteuid(65534);
  try {
    await fails(path, 'permission_denied');
  } finally {
    process.seteuid(0);
  }
});

test('a full queue', async (t) => {
  const error = await fails(await serve(t, 'queue-full'), 'queue_full', { timeout: 300 });
  assert.ok(error.elapsed >= 300);
});

test('a full queue that is worked off', async (t) => {
  const path = join(temporaryDirectory(t), 's');
  const server = await start(t, 'python3', BAD_SERVER, 'queue-full-until-told', path);
  server.stdin.write('go\n');
  assert.equal(String(await new Client(path, { timeout: PATIENCE }).call('hello')), 'accepted');
});

test('an abort while the queue is full', async (t) => {
  const path = await serve(t, 'queue-full');
  const call = new Client(path, { timeout: PATIENCE }).call('hello', { signal: AbortSignal.timeout(100) });
  await assert.rejects(call, { name: 'TimeoutError' });
});

test('arguments', async () => {
  for (const timeout of [0, -1, NaN, Infinity, 600_001, '5', null]) {
    assert.throws(() => new Client('/run/s', { timeout }), { kind: 'invalid_argument', fault: 'caller' });
  }
  for (const maxReply of [0, -1, 1.5, '1']) {
    assert.throws(() => new Client('/run/s', { maxReply }), { kind: 'invalid_argument' });
  }
  for (const wrong of [
    () => new Client(5),
    () => new Client('/run/s', { ends: 'newline' }),
    () => atDelimiter(''),
    () => atLength(3),
    () => atLength(4, 'middle'),
    () => atSilence(0),
    () => atPredicate(5),
  ]) {
    assert.throws(wrong, { kind: 'invalid_argument' });
  }
  await assert.rejects(new Client('/run/s').call(5), { kind: 'invalid_argument' });
  await assert.rejects(new Client('/run/s').call('x', { timeout: -1 }), { kind: 'invalid_argument' });
  const bad = { headers: { 'X-A': 'smile \u{1f600}' } };
  await assert.rejects(new HttpClient('/run/s').request('GET', '/', bad), { kind: 'invalid_argument' });
});

test('predicates', async (t) => {
  const path = await serve(t, 'drips-pieces', 'abc;def');
  const call = (whole) => new Client(path, { timeout: PATIENCE, ends: atPredicate(whole) }).call('x');
  assert.equal(String(await call((reply) => reply.indexOf(';') + 1 || undefined)), 'abc;');
  await assert.rejects(call(() => { throw new RangeError('mine'); }), { message: 'mine' });
  await assert.rejects(call(() => 99), { kind: 'invalid_argument' });
});

test('a reset is no clean end, although libuv calls it one', async (t) => {
  const path = await serve(t, 'resets');
  const client = new Client(path, { timeout: PATIENCE });
  for (let i = 0; i < 50; i += 1) {
    await assert.rejects(client.call('hello'), { kind: 'connection_lost', code: 'ECONNRESET', mayHaveRun: true });
  }
});

test('an abort closes the connection at once', async (t) => {
  const closed = [];
  const path = join(temporaryDirectory(t), 's');
  const server = createServer({ allowHalfOpen: true }, (peer) => {
    peer.resume().on('error', () => {}).on('close', () => closed.push(peer));
    peer.on('end', () => {}); // keeps its side open: only our close can end it
    const writing = setInterval(() => peer.write('x'), 10);
    peer.on('close', () => clearInterval(writing));
  }).listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
  const controller = new AbortController();
  const call = new Client(path, { timeout: PATIENCE }).call('hello', { signal: controller.signal });
  await sleep(50);
  controller.abort(new Error('enough'));
  await assert.rejects(call, { message: 'enough' });
  while (closed.length === 0) {
    await sleep(10);
  }
  await assert.rejects(new Client(path).call('hello', { signal: controller.signal }), { message: 'enough' });
});

test('an aborted call on a kept connection leaves no answer behind', async (t) => {
  const client = new LineClient(await serve(t, 'lines-late', '2'), { timeout: PATIENCE });
  await client.call('first');
  const slow = client.call('slow', { signal: AbortSignal.timeout(50) });
  await assert.rejects(slow, { name: 'TimeoutError' });
  for (const line of ['a', 'b', 'c']) {
    assert.equal(String(await client.call(line)), line);
  }
  client.close();
});

test('a blocked event loop loses no reply', async (t) => {
  const client = new Client(await serve(t, 'echo'), { timeout: 500 });
  const call = client.call('hello');
  setImmediate(() => setImmediate(() => {
    const end = performance.now() + 1500;
    while (performance.now() < end);
  }));
  assert.equal(String(await call), 'hello');
});

test('many at a time, each its own answer', async (t) => {
  const client = new LineClient(await serve(t, 'lines-late', '0.05'), { timeout: PATIENCE });
  for (let round = 0; round < 5; round += 1) {
    const lines = Array.from({ length: 60 }, (_, i) => `${i % 3 === 0 ? 'slow' : 'quick'}-${round}-${i}`);
    assert.deepEqual((await Promise.all(lines.map((line) => client.call(line)))).map(String), lines);
  }
  client.close();
});

for (const via of ['lines', 'http']) {
  test(`${via}: no answer reaches another call, whatever the server does but answer twice`, async (t) => {
    const path = await serve(t, `${via}-chaos`);
    const client = via === 'lines' ? new LineClient(path) : new HttpClient(path);
    const ask = async (name, options) => {
      if (via === 'lines') {
        return String(await client.call(name, options));
      }
      const response = await client.request('POST', '/', { ...options, body: name });
      return response.status === 503 ? name : String(response.body).slice('POST / '.length);
    };
    let answered = 0;
    const caller = async (number) => {
      for (let count = 0; count < 60; count += 1) {
        const patience = [20, 100, 1000][Math.floor(3 * Math.random())];
        const options = count % 2 === 0 ? { timeout: patience } : { signal: AbortSignal.timeout(patience) };
        const name = `${number}-${count}`;
        const outcome = await ask(name, options).catch((error) => error);
        if (typeof outcome === 'string') {
          assert.equal(outcome, name);
          answered += 1;
        } else if (outcome.name !== 'TimeoutError') {
          assert.ok(['connection_lost', 'server_error'].includes(outcome.kind), String(outcome));
        }
      }
    };
    await Promise.all(Array.from({ length: 8 }, (_, number) => caller(number)));
    client.close();
    assert.ok(answered > 0);
  });
}

test('a late second answer that lies in the socket at the next call goes to nobody', async (t) => {
  const client = new LineClient(await serve(t, 'lines-twice-late'), { timeout: PATIENCE });
  assert.equal(String(await client.call('a')), 'a');
  // The event loop is held up: Node has not read the second answer yet when the next call begins.
  const end = performance.now() + 300;
  while (performance.now() < end);
  assert.equal(String(await client.call('b')), 'b');
  client.close();
});

test('a line said before any request is no answer', async (t) => {
  const path = join(temporaryDirectory(t), 's');
  const server = createServer((peer) => peer.on('error', () => {}).write('welcome\n')).listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
  const call = new LineClient(path, { timeout: PATIENCE }).call('a');
  // The server is in this process: its greeting may come after the look. Then it is taken for the answer, as by anybody.
  const outcome = await call.then(String, (error) => error.kind);
  assert.ok(['welcome', 'malformed_reply'].includes(outcome), outcome);
});

test('idle connections do not keep the process alive', async (t) => {
  const path = await serve(t, 'lines');
  const code = `import { LineClient } from ${JSON.stringify(join(HERE, '../src/index.js'))};`
    + 'console.log(String(await new LineClient(process.argv[1]).call("a")));';
  const child = spawn('node', ['--input-type=module', '-e', code, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk) => { output += chunk; });
  assert.deepEqual(await once(child, 'close'), [0, null]);
  assert.equal(output, 'a\n');
});

test('a server that was restarted', async (t) => {
  const path = join(temporaryDirectory(t), 's');
  const listen = async () => {
    const peers = [];
    const server = createServer((peer) => { peers.push(peer); peer.on('error', () => {}).pipe(peer); }).listen(path);
    await once(server, 'listening');
    return async () => { server.close(); peers.forEach((peer) => peer.destroy()); await once(server, 'close'); };
  };
  const stop = await listen();
  const client = new LineClient(path, { timeout: PATIENCE });
  assert.equal(String(await client.call('a')), 'a');
  await stop();
  t.after(await listen());
  assert.equal(String(await client.call('b')), 'b');
  client.close();
});

test("a server of Node's net with its defaults, half-closed and not", async (t) => {
  const path = join(temporaryDirectory(t), 's');
  const server = createServer((peer) => {
    peer.on('error', () => {}).once('data', () => setTimeout(() => peer.end('answer'), 50));
  }).listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
  await assert.rejects(new Client(path, { timeout: PATIENCE }).call('hello\n'), (error) => {
    assert.equal(error.kind, 'connection_lost');
    assert.match(error.message, /halfClose: false/);
    return true;
  });
  assert.equal(String(await new Client(path, { timeout: PATIENCE, halfClose: false }).call('hello\n')), 'answer');
});

const unhang = process.env.UNHANG_BIN;
test('unhang serve', { skip: !unhang && 'UNHANG_BIN does not say where unhang is' }, async (t) => {
  const path = join(temporaryDirectory(t), 's');
  const server = spawn(unhang, ['serve', path, '--max-request', '100B'], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(async () => {
    server.kill();
    await once(server, 'close');
  });
  await once(server.stdout, 'data'); // its first line says that it listens
  const client = new Client(path, { timeout: PATIENCE });
  assert.match(String(await client.call('hello')), /^OK/);
  for (const size of [101, 3_000_000]) {
    await assert.rejects(client.call(Buffer.alloc(size)), { reason: 'the request is longer than 100 bytes' });
  }
});

test("Node's http", async (t) => {
  const path = join(temporaryDirectory(t), 's');
  const server = createHttpServer((request, response) => request.pipe(response)).listen(path);
  await once(server, 'listening');
  t.after(() => { server.closeAllConnections(); server.close(); });
  await echoes(path);
});

test('http.server of Python', async (t) => {
  const path = join(temporaryDirectory(t), 's');
  const code = `
import http.server, socketserver, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
server = Server(sys.argv[1], Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.read()
`;
  await start(t, 'python3', '-c', code, path);
  await echoes(path);
});

async function echoes(path) {
  const client = new HttpClient(path, { timeout: PATIENCE });
  for (let number = 0; number < 20; number += 1) {
    const body = Buffer.alloc(number * 1000, number);
    const response = await client.request('POST', `/${number}`, { body });
    assert.deepEqual([response.status, response.body], [200, body]);
  }
  client.close();
}
