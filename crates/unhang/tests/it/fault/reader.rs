//! Clients that do not take their large reply: not at all, or a byte now and then.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

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

/// The client has a beginning of its reply and then an error: it does not hang, and does not take the
/// beginning for the whole.
fn assert_cut_off(watched: &Watched, mut stream: UnixStream, taken: usize) {
    assert_eq!(watched.next_end(), "ReplyNotTaken");
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(taken + rest.len() < LARGE, "{taken} + {} bytes", rest.len());
    assert_eq!(ask(&watched.server.path, "hello"), "OK\n");
    assert_eq!(watched.next_end(), "Answered");
}

#[test]
fn a_client_that_never_reads_is_let_go_at_the_write_deadline() {
    let watched = start();
    let stream = ask_large(&watched);
    assert_cut_off(&watched, stream, 0);
}

/// A client that read 13 MB a second got a clean end after 122 of 210 MB: the deadline was for the whole
/// reply.
#[test]
fn a_client_that_reads_slowly_has_all_of_it_however_long_that_takes() {
    let watched = start();
    let mut stream = ask_large(&watched);
    let (mut taken, mut piece) = (0, vec![0; LARGE / 50]);
    let begun = Instant::now();
    loop {
        let count = stream.read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        taken += count;
        sleep(Duration::from_millis(20));
    }
    assert_eq!(taken, LARGE);
    assert!(begun.elapsed() > Duration::from_secs(1), "that is the deadline");
    assert_eq!(watched.next_end(), "Answered");
}

#[test]
fn a_client_that_reads_has_all_of_it_meanwhile() {
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
