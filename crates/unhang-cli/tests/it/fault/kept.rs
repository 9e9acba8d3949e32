//! Connections that are kept for the next request: idle ones in numbers, ones that never read their answers,
//! and ones that the server has to end to have their descriptor.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::idle_crowd::allow_descriptors;
use super::{is_answer, serve_with_descriptors};
use crate::support::daemon::Daemon;
use crate::support::programs::say;
use crate::support::{PATIENCE, Place};

/// A client that keeps its connection and speaks in lines.
struct Kept(BufReader<UnixStream>);

impl Kept {
    fn connect(place: &Place) -> Self {
        let stream = UnixStream::connect(&place.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        // A reply is short, and there may be very many clients.
        Self(BufReader::with_capacity(64, stream))
    }

    fn asks(&mut self) {
        self.0.get_mut().write_all(b"hello\n").unwrap();
        let reply = self.line();
        assert!(is_answer(reply.as_bytes()), "{reply:?}");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }
}

#[test]
fn idle_ones_hold_no_place() {
    const PLACES: usize = 1000;
    let place = Place::new();
    if allow_descriptors().is_err() {
        return say("skipped: not enough descriptors are allowed (ulimit -Hn)");
    }
    let flags = ["--wire", "lines", "--max-connections", "1000", "--quiet"];
    let _server = serve_with_descriptors(&place, 4096, &flags);
    // Some have asked something, some nothing yet.
    let mut idle: Vec<_> = (0..PLACES).map(|_| Kept::connect(&place)).collect();
    idle.iter_mut().step_by(2).for_each(Kept::asks);
    Kept::connect(&place).asks();
    let mut others: Vec<_> = (0..PLACES).map(|_| Kept::connect(&place)).collect();
    others.iter_mut().for_each(Kept::asks);
    // Nobody was ended for it.
    idle.iter_mut().for_each(Kept::asks);
}

#[test]
fn requests_whose_answers_nobody_reads_are_not_read_on_and_cost_no_memory() {
    flood("lines", b"hello\n", Kept::asks);
    flood("http", GET, |other| {
        other.0.get_mut().write_all(GET).unwrap();
        // The only newline of the body ends it.
        while !is_answer(other.line().as_bytes()) {}
    });
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn flood(wire: &str, request: &[u8], mut asks: impl FnMut(&mut Kept)) {
    const BYTES: usize = 64 << 20;
    let place = Place::new();
    let flags = ["--wire", wire, "--write-deadline", "1s", "--quiet"];
    let server = Daemon::serve(&place.socket, &flags);
    let mut other = Kept::connect(&place);
    asks(&mut other);
    let before = server.peak_memory();
    let flood = request.repeat(1 << 16);
    let mut sent = 0;
    let mut flooding = Kept::connect(&place);
    let ended = loop {
        match flooding.0.get_mut().write(&flood) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        assert!(sent < BYTES, "all was taken");
        asks(&mut other);
    };
    // The write deadline has ended it, and the client knows.
    assert!(matches!(ended.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{ended}");
    // What the two socket buffers hold, and a few replies.
    assert!(sent < 2 << 20, "{sent} bytes were taken");
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "it has grown by {grown} bytes");
    asks(&mut other);
}

/// The first exchange makes the second no less bounded.
#[test]
fn a_byte_now_and_then_is_told_at_the_deadline_on_a_connection_that_was_used() {
    for (wire, first, told) in [
        ("lines", "hello\n", "ERR no whole request within 1s"),
        ("http", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 408 "),
    ] {
        let place = Place::new();
        let flags = ["--wire", wire, "--read-deadline", "1s", "--quiet"];
        let _server = Daemon::serve(&place.socket, &flags);
        let mut slow = UnixStream::connect(&place.socket).unwrap();
        slow.set_read_timeout(Some(PATIENCE)).unwrap();
        slow.write_all(first.as_bytes()).unwrap();
        // Both replies end with the only newline of the body, and that with the time.
        let mut first = Vec::new();
        while !first.ends_with(b"+00:00\n") {
            let mut byte = [0];
            slow.read_exact(&mut byte).unwrap();
            first.extend(byte);
        }
        let mut drips = slow.try_clone().unwrap();
        let dripping = std::thread::spawn(move || {
            let begun = Instant::now();
            while drips.write_all(b"G").is_ok() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(100));
            }
            begun.elapsed()
        });
        let mut said = String::new();
        slow.read_to_string(&mut said).unwrap();
        assert!(said.starts_with(told), "{said:?}");
        drop(slow);
        assert!(dripping.join().unwrap() < PATIENCE);
    }
}

/// More clients than descriptors, that ask all the time: whenever one connects, the connection that has
/// rested longest is ended. `UNHANG_CLOSES=10000` asks for so many ends.
#[test]
fn one_that_is_ended_for_its_descriptor_loses_no_request() {
    const CLIENTS: usize = 48;
    let most = std::env::var("UNHANG_CLOSES").map_or(300, |count| count.parse().unwrap());
    let place = Place::new();
    let _server = serve_with_descriptors(&place, 40, &["--wire", "lines", "--quiet"]);
    let (ended, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (place, ended, asked) = (&place, &ended, &asked);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(client as u64);
                while ended.load(SeqCst) < most {
                    let mut kept = Kept::connect(place);
                    while kept.is_answered() {
                        asked.fetch_add(1, SeqCst);
                        std::thread::sleep(Duration::from_micros(random.u64(..2000)));
                        if ended.load(SeqCst) >= most {
                            return;
                        }
                    }
                    ended.fetch_add(1, SeqCst);
                }
            });
        }
    });
    say(&format!("{ended:?} connections ended, {asked:?} requests answered, none lost"));
}

impl Kept {
    /// False if it was told otherwise: by EPIPE, or in words. No answer at all fails the test.
    fn is_answered(&mut self) -> bool {
        match self.0.get_mut().write_all(b"hello\n") {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return false,
            Err(error) => panic!("it was not sent: {error}"),
        }
        let reply = self.line();
        assert!(is_answer(reply.as_bytes()) || reply.starts_with("ERR busy: "), "{reply:?}");
        !reply.starts_with("ERR")
    }
}
