//! Connections that are kept for the next request: idle ones in numbers, ones that never read their answers,
//! and ones that the server has to end to have their descriptor.

mod crowd;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::crowds::allow_descriptors;
use rustix::process::Signal;

use super::{is_answer, serve_with_descriptors};
use crate::support::daemon::Daemon;
use crate::support::programs::say;
use crate::support::spoken::{END, WIRES, request};
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

    /// The same on any wire.
    fn asks_for(&mut self, request: &[u8]) {
        self.0.get_mut().write_all(request).unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(END) {
            let read = self.0.read_until(b'\n', &mut reply).unwrap();
            assert!(read > 0, "the end after {:?}", reply.escape_ascii().to_string());
        }
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
    let allowed = allow_descriptors();
    if allowed.most < 4096 {
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
    for wire in WIRES {
        flood(wire);
    }
}

fn flood(wire: &str) {
    const BYTES: usize = 64 << 20;
    let request = request(wire);
    let place = Place::new();
    // No other deadline is to end it.
    let flags = ["--wire", wire, "--write-deadline", "1s", "--read-deadline", "1h", "--quiet"];
    let server = Daemon::serve(&place.socket, &flags);
    let mut other = Kept::connect(&place);
    other.asks_for(&request);
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
        other.asks_for(&request);
    };
    // The write deadline has ended it, and the client knows.
    let knows = matches!(ended.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
    assert!(knows, "{wire}: {ended}");
    // What the two socket buffers hold, and a few replies.
    assert!(sent < 2 << 20, "{wire}: {sent} bytes were taken");
    let grown = server.peak_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{wire}: it has grown by {grown} bytes");
    other.asks_for(&request);
}

/// The first exchange makes the second no less bounded.
#[test]
fn a_byte_now_and_then_is_told_at_the_deadline_on_a_connection_that_was_used() {
    for (wire, told) in [("lines", "ERR no whole request within 1s"), ("http", "HTTP/1.1 408 ")] {
        let place = Place::new();
        let flags = ["--wire", wire, "--read-deadline", "1s", "--quiet"];
        let _server = Daemon::serve(&place.socket, &flags);
        let mut slow = Kept::connect(&place);
        slow.asks_for(&request(wire));
        let mut drips = slow.0.get_ref().try_clone().unwrap();
        let dripping = std::thread::spawn(move || {
            let begun = Instant::now();
            while drips.write_all(b"G").is_ok() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(100));
            }
            begun.elapsed()
        });
        let mut said = String::new();
        slow.0.read_to_string(&mut said).unwrap();
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
