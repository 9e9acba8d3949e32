//! Clients that do not take their large reply: not at all, or a byte now and then.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

use unhang::{Fault, Limits, Request};

use super::Watched;
use crate::support::{ask, connect};

const LARGE: usize = 16 << 20;

fn start() -> Watched {
    let mut limits = Limits::default();
    limits.write = Duration::from_secs(1);
    Watched::start(limits, large)
}

async fn large(request: Request) -> Result<Vec<u8>, Fault> {
    match &*request.text() {
        "large" => Ok(vec![b'x'; LARGE]),
        _ => Ok(b"OK\n".to_vec()),
    }
}

fn ask_large(watched: &Watched) -> UnixStream {
    let mut stream = connect(&watched.server.path);
    stream.write_all(b"large").unwrap();
    stream
}

/// What is left for it is a beginning and the end: it has no reply, but it does not hang.
fn assert_cut_off(watched: &Watched, mut stream: UnixStream, taken: usize) {
    assert_eq!(watched.next_end(), "ReplyNotTaken");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(taken + rest.len() < LARGE, "{taken} + {} bytes", rest.len());
    assert_eq!(ask(&watched.server.path, "hello"), "OK\n");
    assert_eq!(watched.next_end(), "Answered");
}

#[test]
fn who_never_reads_is_let_go_at_the_write_deadline() {
    let watched = start();
    let stream = ask_large(&watched);
    assert_cut_off(&watched, stream, 0);
}

#[test]
fn no_byte_taken_extends_the_deadline() {
    let watched = start();
    let mut stream = ask_large(&watched);
    let mut taken = 0;
    // Far longer than the deadline, were the server to wait for it.
    while taken < 1000 {
        stream.read_exact(&mut [0]).unwrap();
        taken += 1;
        sleep(Duration::from_millis(2));
    }
    assert_cut_off(&watched, stream, taken);
}

#[test]
fn who_reads_has_all_of_it_meanwhile() {
    let watched = start();
    let unread = ask_large(&watched);
    let mut whole = Vec::new();
    ask_large(&watched).read_to_end(&mut whole).unwrap();
    assert_eq!(whole.len(), LARGE);
    let mut ends = [watched.next_end(), watched.next_end()];
    ends.sort();
    assert_eq!(ends, ["Answered", "ReplyNotTaken"]);
    drop(unread);
}
