//! Kept connections that the server ends while their clients send: each request is answered, or its client
//! knows by EPIPE that nothing of it arrived. `UNHANG_CLOSES=10000` asks for so many ends of each kind.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Instant;

use fastrand::Rng;
use tempfile::TempDir;
use unhang::{Bind, Delimiter, Error, Errors, ServerHandle};

use super::*;
use crate::support::PATIENCE;

const CLIENTS: usize = 32;

/// After so long an idle connection is ended, if the test is about that.
const IDLE: Duration = Duration::from_millis(3);

#[derive(Default)]
struct Race {
    /// So many connections were ended by the server.
    ends: AtomicUsize,
    asked: AtomicUsize,
    over: AtomicBool,
}

/// How many ends of each kind an ordinary run sees.
fn ends_asked_for() -> usize {
    std::env::var("UNHANG_CLOSES").map_or(300, |count| count.parse().unwrap())
}

struct Served {
    handle: ServerHandle,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

fn start(path: &Path, idle: Option<Duration>) -> Served {
    let mut limits = Limits::default();
    limits.idle = idle;
    // In the first quarter of it no connection is ended.
    limits.drain = Duration::from_millis(200);
    let listener = Bind::new(path).replace(true).listen().unwrap();
    let server = Server::new(listener).lines(Delimiter::Newline, Errors::Text).limits(limits);
    let (handle, thread) = (server.handle(), Some(std::thread::spawn(|| server.run(answer))));
    Served { handle, thread }
}

impl Served {
    fn stop(&mut self) {
        self.handle.stop();
        self.wait();
    }

    fn wait(&mut self) {
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

impl Race {
    fn has(&self, ends: usize) -> bool {
        self.ends.load(SeqCst) >= ends
    }

    /// Has clients ask all the time while `faults` goes on, and says how it was.
    fn run(&self, path: &Path, pause: fn(&mut Rng) -> Duration, faults: impl FnOnce()) {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| scope.spawn(move || self.asks(path, client, pause)))
                .collect();
            let over = Over(&self.over);
            faults();
            drop(over);
            for client in clients {
                client.join().unwrap();
            }
        });
        println!("{:?} ends, {:?} requests, none lost", self.ends, self.asked);
    }

    fn asks(&self, path: &Path, client: usize, pause: fn(&mut Rng) -> Duration) {
        let mut random = Rng::with_seed(client as u64);
        let mut nth = 0;
        while !self.over.load(SeqCst) {
            let mut stream = reach(path);
            loop {
                std::thread::sleep(pause(&mut random));
                if self.over.load(SeqCst) {
                    return;
                }
                nth += 1;
                let text = format!("echo {client} {nth}\n");
                match stream.write_all(text.as_bytes()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                    Err(error) => panic!("{text:?} was not sent: {error}"),
                }
                self.asked.fetch_add(1, SeqCst);
                let reply = read_line(&mut stream);
                if reply != text {
                    assert_eq!(reply, "ERR the server is stopping\n", "for {text:?}");
                    break;
                }
            }
            self.ends.fetch_add(1, SeqCst);
        }
    }
}

/// Ends the race, also if what it is about has panicked.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Connects as soon as there is a server.
fn reach(path: &Path) -> UnixStream {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return stream;
            }
            Err(error) => assert!(begun.elapsed() < PATIENCE, "nobody serves: {error}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Mostly about as long as the idle deadline.
fn about_idle(random: &mut Rng) -> Duration {
    let spread = Duration::from_micros(random.u64(..600));
    if random.u8(..4) == 0 { Duration::ZERO } else { Duration::from_micros(2700) + spread }
}

fn short(random: &mut Rng) -> Duration {
    Duration::from_micros(random.u64(..1000))
}

fn wait_until(done: impl Fn() -> bool, for_at_most: Duration) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < for_at_most, "it takes longer than {for_at_most:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// For so many ends, on the slowest machine.
fn patience(ends: usize) -> Duration {
    PATIENCE + Duration::from_millis(20) * u32::try_from(ends).unwrap()
}

#[test]
fn by_the_idle_deadline_no_request_is_lost() {
    let directory = TempDir::new().unwrap();
    let (path, race, ends) = (directory.path().join("s"), Race::default(), ends_asked_for());
    let mut server = start(&path, Some(IDLE));
    race.run(&path, about_idle, || wait_until(|| race.has(ends), patience(ends)));
    server.stop();
}

#[test]
fn by_the_drain_no_request_is_lost() {
    end_server_after_server(|path, server| {
        server.stop();
        *server = start(path, None);
    });
}

#[test]
fn by_a_server_that_replaces_it_no_request_is_lost() {
    end_server_after_server(|path, server| {
        let next = start(path, None);
        std::mem::replace(server, next).wait();
    });
}

/// Has one server after the other serve, until as many connections as asked for have ended.
fn end_server_after_server(mut next: impl FnMut(&Path, &mut Served)) {
    let directory = TempDir::new().unwrap();
    let (path, race, ends) = (directory.path().join("s"), Race::default(), ends_asked_for());
    let mut server = start(&path, None);
    race.run(&path, short, || {
        while !race.has(ends) {
            let seen = race.asked.load(SeqCst) + 4 * CLIENTS;
            wait_until(|| race.asked.load(SeqCst) >= seen, PATIENCE);
            next(&path, &mut server);
        }
    });
    server.stop();
}
