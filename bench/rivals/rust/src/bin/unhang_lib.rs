//! A service with this project's library, as its documentation writes it: all its deadlines and
//! limits are on.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use unhang::{Delimiter, Error, Errors, Event, Fault, Limits, Reply, Request, Server, termination};

#[derive(Parser)]
struct Args {
    path: String,
    /// How long the handler waits, in milliseconds
    #[arg(long, default_value_t = 0)]
    sleep: u64,
    /// How long the handler computes, in microseconds
    #[arg(long, default_value_t = 0)]
    spin: u64,
    /// Reply with so many bytes instead of with the request
    #[arg(long)]
    reply_bytes: Option<usize>,
    /// Reply with so many bytes, in pieces
    #[arg(long)]
    stream_bytes: Option<usize>,
    /// How long a piece is
    #[arg(long, default_value_t = 1 << 16)]
    stream_piece: usize,
    /// Write a line per exchange to this file: the time, the client, how much and how long
    #[arg(long)]
    log: Option<PathBuf>,
    /// Threads that serve
    #[arg(long)]
    threads: Option<usize>,
    /// Room for so many connections
    #[arg(long)]
    max_connections: Option<usize>,
    /// How it is spoken: oneshot, lines or http
    #[arg(long, default_value = "oneshot")]
    wire: String,
    /// How long a request may take to come, in seconds
    #[arg(long)]
    read_deadline: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args = Args::parse();
    let mut limits = Limits::default();
    limits.max_connections = args.max_connections.unwrap_or(limits.max_connections);
    limits.read = args.read_deadline.map_or(limits.read, Duration::from_secs);

    let mut server = Server::bind(&args.path)?.limits(limits).stop_when(termination());
    if let Some(path) = args.log {
        let log = Mutex::new(BufWriter::new(File::create(path).expect("a file for the log")));
        server = server.name_peers().observe(move |event| write_line(&log, event));
    }
    if let Some(threads) = args.threads {
        server = server.threads(threads);
    }

    server = match &*args.wire {
        "lines" => server.lines(Delimiter::Newline, Errors::Text),
        "http" => server.http(),
        _ => server,
    };
    let (sleep, spin) = (Duration::from_millis(args.sleep), Duration::from_micros(args.spin));
    // As static data: the reply of a service that has it ready is not copied.
    let (streamed, piece) = (args.stream_bytes, Bytes::from(vec![b'x'; args.stream_piece]));
    let fixed = args.reply_bytes.map(|length| &*vec![b'x'; length].leak());
    server
        .serve(move |request: Request| {
            let piece = piece.clone();
            async move {
                if let Some(length) = streamed {
                    return Ok(stream(length, piece));
                }
                if !sleep.is_zero() {
                    tokio::time::sleep(sleep).await;
                }
                let begun = Instant::now();
                while !spin.is_zero() && begun.elapsed() < spin {}
                Ok::<Reply, Fault>(match fixed {
                    Some(reply) => (reply as &'static [u8]).into(),
                    None => [b"pong:", request.bytes()].concat().into(),
                })
            }
        })
        .await
}

/// Four pieces are made before the client has taken the first of them.
fn stream(length: usize, piece: Bytes) -> Reply {
    let (mut sender, reply) = Reply::stream(4);
    tokio::spawn(async move {
        let mut left = length;
        while left > 0 {
            let count = left.min(piece.len());
            if sender.send(piece.slice(..count)).await.is_err() {
                return;
            }
            left -= count;
        }
        sender.finish().await;
    });
    reply
}

fn write_line(log: &Mutex<BufWriter<File>>, event: &Event) {
    let Event::Exchange(exchange) = event else { return };
    let (now, who) = (jiff::Timestamp::now(), exchange.peer.map(|peer| (peer.pid, peer.uid)));
    let (read, written, took) = (exchange.bytes_in, exchange.bytes_out, exchange.took);
    if let Ok(mut log) = log.lock() {
        // A log that cannot be written must not stop the service.
        let _ = writeln!(log, "{now} {who:?} {read} {written} {took:?} {:?}", exchange.ended);
    }
}
