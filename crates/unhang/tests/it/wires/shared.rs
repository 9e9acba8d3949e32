//! Kept connections between workers: clients are with the worker that has accepted them, until that one has
//! more to do than another.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use unhang::{Delimiter, Errors};

use super::*;
use crate::support::PATIENCE;

const CLIENTS: usize = 16;

/// Says on which thread it ran. One that is told to hold waits for the test, and blocks its worker.
#[test]
fn a_worker_that_rests_takes_over_clients_of_one_that_does_not() {
    let (release, held) = channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let handler = move |request: Request| {
        let held = Arc::clone(&held);
        async move {
            if request.bytes() == b"hold" {
                let _ = held.lock().unwrap().recv();
            }
            // Longer than a client takes to ask again: the worker always has several to serve.
            std::thread::sleep(Duration::from_micros(200));
            Ok::<_, Fault>(format!("{:?}", std::thread::current().id()))
        }
    };
    let speak = |server: Server| server.lines(Delimiter::Newline, Errors::Text).threads(2);
    let server = Running::start(speak, handler);
    // Blocks one worker, so that the other accepts all.
    let mut holding = connect(&server.path);
    holding.write_all(b"hold\n").unwrap();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(&server.path)).collect();
    let ask = |client: &mut UnixStream| {
        client.write_all(b"who\n").unwrap();
        read_line(client)
    };
    let before: HashSet<_> = clients.iter_mut().map(ask).collect();
    release.send(()).unwrap();
    let other = read_line(&mut holding);
    assert!(!before.contains(&other), "{other} was blocked, and served {before:?}");
    let (begun, moved) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                let mut has_moved = false;
                while moved.load(SeqCst) < CLIENTS / 4 {
                    assert!(begun.elapsed() < PATIENCE, "{other} rests, and none comes to it");
                    if ask(client) == other && !std::mem::replace(&mut has_moved, true) {
                        moved.fetch_add(1, SeqCst);
                    }
                }
            });
        }
    });
}

/// Regression: a worker went on with a connection for as long as that had a request, and one client that always
/// had the next kept it from all others, for seconds.
#[test]
fn a_client_that_always_has_more_leaves_others_their_turn() {
    let speak = |server: Server| server.lines(Delimiter::Newline, Errors::Text).threads(1);
    let server = serve(speak);
    let mut other = connect(&server.path);
    other.write_all(b"first\n").unwrap();
    assert_eq!(read_line(&mut other), "first\n");
    let asks = connect(&server.path);
    let mut reads = asks.try_clone().unwrap();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let requests = b"again\n".repeat(4000);
            while !over.load(SeqCst) {
                (&asks).write_all(&requests).unwrap();
            }
            asks.shutdown(std::net::Shutdown::Write).unwrap();
        });
        scope.spawn(|| {
            let mut chunk = vec![0; 1 << 20];
            while let Ok(count @ 1..) = reads.read(&mut chunk) {
                answered.fetch_add(count / 6, SeqCst);
            }
        });
        let _over = Over(&over);
        for nth in 0..200 {
            let before = answered.load(SeqCst);
            other.write_all(format!("{nth}\n").as_bytes()).unwrap();
            assert_eq!(read_line(&mut other), format!("{nth}\n"));
            let meanwhile = answered.load(SeqCst) - before;
            // By turns, not by time: some of them were on their way before, in buffers of this test.
            assert!(meanwhile < 400_000, "{meanwhile} others were answered meanwhile");
        }
    });
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
