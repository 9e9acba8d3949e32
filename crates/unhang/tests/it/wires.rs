//! Kept connections, in bytes on real sockets: no answer is ever another's.

mod blocked;
mod ended;
mod goridge;
mod http;
mod lines;
mod never_crossed;
mod shared;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use unhang::{Fault, Limits, Reply, Request, Server};

use crate::support::{Running, connect};

/// What a request's text asks the handler to do.
async fn answer(request: Request) -> Result<Reply, Fault> {
    let text = request.text().into_owned();
    match text.split(' ').next() {
        Some("late") => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            Ok(text.into())
        }
        Some("slow") => {
            tokio::time::sleep(LATE + Duration::from_millis(500)).await;
            Ok(text.into())
        }
        Some("panic") => panic!("it was asked to"),
        Some("fault") => Err(Fault::new("it was asked to")),
        Some("lines") => Ok("two\nlines".into()),
        Some("nothing") => {
            let (sender, reply) = Reply::stream(1);
            tokio::spawn(async move { sender.fail(Fault::new("nothing comes")).await });
            Ok(reply)
        }
        Some("stream") => {
            let (mut sender, reply) = Reply::stream(1);
            tokio::spawn(async move {
                for byte in text.bytes() {
                    if sender.send(vec![byte]).await.is_err() {
                        return;
                    }
                }
                sender.finish().await;
            });
            Ok(reply)
        }
        _ => Ok(text.into()),
    }
}

/// The handlers' deadline, and what a client is told then. A busy machine keeps none waiting for so long
/// that is not asked to be late.
const LATE: Duration = Duration::from_secs(2);
const TOLD_LATE: &str = "the handler took longer than 2s";

/// A server whose handlers have that deadline.
fn serve(speak: impl FnOnce(Server) -> Server) -> Running {
    let mut limits = Limits::default();
    limits.handler = LATE;
    Running::start(|server| speak(server.limits(limits)), answer)
}

fn read_exact(stream: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn read_all(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Up to and with the line's end.
fn read_line(stream: &mut UnixStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.extend(read_exact(stream, 1));
    }
    String::from_utf8(line).unwrap()
}

/// In pieces of one byte, each of which the server may read by itself.
fn trickle(stream: &mut UnixStream, bytes: &[u8]) {
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
        std::thread::yield_now();
    }
}
