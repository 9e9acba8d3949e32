// Every case of spec/vectors/calls.json against the bad server.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Client, HttpClient, LineClient, Response, UnhangError } from '../src/index.js';
import { BAD_SERVER, CALLS, data, rule, start, temporaryDirectory, vectors } from './support.js';

// Milliseconds beside a call's timeout, on a machine with much else to do. A hang takes for ever.
const SLACK = 40_000;

function client({ via, options: { timeout, ends, half_close: halfClose, max_reply: maxReply } }, path) {
  const options = { timeout: timeout * 1000, maxReply, halfClose, ends: ends && rule(ends) };
  const Kind = { lines: LineClient, http: HttpClient }[via] ?? Client;
  return new Kind(path, options);
}

function ask(target, via, request) {
  if (via === 'http') {
    const body = request.body === undefined ? undefined : data(request.body);
    return target.request(request.method, request.target, { headers: request.headers, body });
  }
  return target.call(data(request));
}

function check(expected, outcome) {
  if (expected.error !== undefined) {
    checkError(expected, outcome);
  } else if (expected.status !== undefined) {
    assert.ok(outcome instanceof Response, String(outcome));
    assert.deepEqual([outcome.status, outcome.body], [expected.status, data(expected.body)]);
  } else {
    assert.ok(Buffer.isBuffer(outcome), String(outcome));
    assert.ok(outcome.equals(data(expected.reply)), JSON.stringify(outcome.toString('latin1', 0, 100)));
  }
}

function checkError(expected, error) {
  assert.ok(error instanceof UnhangError, String(error));
  assert.equal(error.kind, expected.error, error.message);
  assert.equal(error.mayHaveRun, expected.may_have_run ?? error.mayHaveRun);
  assert.equal(error.reason, expected.reason ?? error.reason);
  if (expected.reply !== undefined) {
    assert.deepEqual(error.reply, data(expected.reply));
  }
  for (const word of expected.says ?? []) {
    assert.ok(error.message.includes(word), error.message);
  }
  assert.ok(Buffer.byteLength(error.message) <= (expected.shown_at_most ?? 2000), error.message);
  assert.doesNotMatch(error.message, /[\p{Cc}\p{Cf}]/u);
  assert.ok(['caller', 'setup', 'server', 'unclear'].includes(error.fault));
  assert.ok(error.message.includes(error.advice));
}

test('calls', { concurrency: 12 }, async (t) => {
  const directory = temporaryDirectory(t);
  await start(t, 'python3', BAD_SERVER, '--cases', CALLS, directory);
  await Promise.all(vectors('calls.json').map((one, number) => t.test(one.name, async () => {
    const target = client(one, join(directory, `${number}.sock`));
    for (const [index, request] of one.requests.entries()) {
      if (index > 0 && one.pause !== undefined) {
        await sleep(one.pause * 1000);
      }
      const start = performance.now();
      const outcome = await ask(target, one.via, request).catch((error) => error);
      assert.ok(performance.now() - start < one.options.timeout * 1000 + SLACK);
      check(one.expect[index], outcome);
    }
    target.close?.();
  })));
});
