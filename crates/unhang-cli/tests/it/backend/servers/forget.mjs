import net from 'node:net';
net.createServer((socket) => {
  socket.once('data', (data) => {
    const answer = () => socket.write(data.toString().toUpperCase());
    if (data.toString() === 'nap\n') setTimeout(answer, 3600e3);
    else answer();
  });
}).listen(process.argv[2], () => console.log('ready'));
