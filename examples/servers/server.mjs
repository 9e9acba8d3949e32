// A server that hangs nobody: node server.mjs /tmp/s.sock
import fs from 'node:fs';
import net from 'node:net';

const DEADLINE = 5000; // milliseconds for the whole exchange

const path = process.argv[2];
fs.rmSync(path, { force: true }); // what the last run has left; with two servers at once, use a lock

// allowHalfOpen: a client that half-closes its request still wants its reply.
net.createServer({ allowHalfOpen: true }, (socket) => {
  let request = '';
  const late = setTimeout(() => socket.destroy(), DEADLINE);
  const answer = () => {
    socket.removeAllListeners('data').removeAllListeners('end');
    socket.end(request.split('\n')[0].toUpperCase() + '\n'); // end() closes: this is the end of the reply
    socket.resume(); // what still comes is discarded
  };
  socket.setEncoding('utf8');
  socket.on('data', (data) => {
    request += data;
    if (request.includes('\n') || request.length > 1 << 20) answer();
  });
  socket.on('end', answer);
  socket.on('error', () => {}); // without this, a client that leaves ends the whole server
  socket.on('close', () => clearTimeout(late));
}).listen(path, () => console.log('ready'));
