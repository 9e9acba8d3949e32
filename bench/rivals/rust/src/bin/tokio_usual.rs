//! tokio as it is usually written: the runtime as it comes, one accept loop, a task per connection
//! and a buffer for each.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UnixListener};

#[derive(Parser)]
struct Args {
    /// A path, or tcp:127.0.0.1:PORT
    address: String,
    /// How long the handler waits, in milliseconds
    #[arg(long, default_value_t = 0)]
    sleep: u64,
    /// Reply with so many bytes instead of with the request
    #[arg(long)]
    reply_bytes: Option<usize>,
}

async fn handle(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    sleep: Duration,
    fixed: Option<Arc<Vec<u8>>>,
) -> io::Result<()> {
    let mut buffer = vec![0; 1024];
    let length = stream.read(&mut buffer).await?;
    if !sleep.is_zero() {
        tokio::time::sleep(sleep).await;
    }
    match fixed {
        Some(reply) => stream.write_all(&reply).await?,
        None => stream.write_all(&[b"pong:", &buffer[..length]].concat()).await?,
    }
    stream.shutdown().await
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let Args { address, sleep, reply_bytes } = Args::parse();
    let sleep = Duration::from_millis(sleep);
    let fixed = reply_bytes.map(|length| Arc::new(vec![b'x'; length]));
    if let Some(tcp) = address.strip_prefix("tcp:") {
        // As TcpListener::bind does it, but for the queue, which is 128 there: so that the drain fits.
        let socket = TcpSocket::new_v4()?;
        socket.bind(tcp.parse().expect("an address"))?;
        let listener = socket.listen(4096)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(handle(stream, sleep, fixed.clone()));
        }
    }
    let listener = UnixListener::bind(address)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(handle(stream, sleep, fixed.clone()));
    }
}
