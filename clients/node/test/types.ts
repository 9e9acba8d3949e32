// Compiled, not run: the types allow what the README shows, and nothing else.

declare global {
  interface Buffer extends Uint8Array {}
}

import { Client, HttpClient, LineClient, UnhangError, atJson, atLength } from '../src/index.js';

export async function allowed(signal: AbortSignal): Promise<Uint8Array> {
  const client = new Client('/run/app.sock', { timeout: 2000, ends: atJson(), halfClose: false });
  const lines = new LineClient('@name');
  const http = new HttpClient('/run/s', { maxReply: 5 });
  const response = await http.request('GET', '/', { headers: { A: 'b' }, body: new Uint8Array(1), signal });
  await lines.call('line', { timeout: 5 });
  try {
    return await client.call('hello');
  } catch (error) {
    if (error instanceof UnhangError && error.kind === 'not_closed' && !error.mayHaveRun) {
      return error.reply;
    }
    return response.body;
  }
}

export function refused(): void {
  // @ts-expect-error: bytes or text
  void new Client('/run/s').call(5);
  // @ts-expect-error: no such length
  atLength(3);
  // @ts-expect-error: a rule, not its name
  void new Client('/run/s', { ends: 'newline' });
}
