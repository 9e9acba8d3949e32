// Asks a server on a Unix socket: node client.mjs SOCKET MESSAGE
import { connect } from 'node:net';

function ask(path, message, seconds = 5) {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const late = () => socket.destroy(new Error(`no end from ${path} within ${seconds} s`));
    const timer = setTimeout(late, seconds * 1000);
    const pieces = [];
    socket.on('data', (piece) => pieces.push(piece));
    socket.on('end', () => resolve(Buffer.concat(pieces)));
    socket.on('error', reject);
    socket.on('close', () => clearTimeout(timer)); // or it would keep the process alive
    socket.end(message); // sends it and half-closes: our message is complete
  });
}

try {
  process.stdout.write(await ask(process.argv[2], process.argv[3]));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
