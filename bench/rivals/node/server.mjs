// Node as its documentation writes it. Only the queue is longer than its 511, so that the drain fits.
import net from 'node:net';

const server = net.createServer((socket) => {
  socket.once('data', (request) => socket.end(Buffer.concat([Buffer.from('pong:'), request])));
  socket.on('error', () => socket.destroy());
});
server.listen({ path: process.argv[2], backlog: 4096 });
