import net from 'node:net';
net.createServer((socket) => {
  socket.once('data', (data) => socket.write(data.toString().toUpperCase()));
}).listen(process.argv[2], () => console.log('ready'));
