// unhang serve /tmp/shout.sock --workers 2 -- node worker.mjs
import readline from 'node:readline';
for await (const line of readline.createInterface({ input: process.stdin })) {
  const space = line.indexOf(' ');
  process.stdout.write(line.slice(0, space + 1) + line.slice(space + 1).toUpperCase() + '\n');
}
