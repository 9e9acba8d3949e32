//! Leftovers of handlers (errors, panics, values that they held) that take long or panic as they are dropped.

use std::fmt;
use std::future::pending;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use unhang::{Fault, Limits, Reply, Request, Server};

use crate::support::{PATIENCE, Running, ask, connect, read_to_end};

/// What is the user's, and not to be dropped where others depend on it.
#[derive(Clone, Debug)]
enum Leftover {
    Panics,
    /// As it is dropped, until the test lets it.
    Blocks(Arc<Mutex<Receiver<()>>>),
}

impl Leftover {
    fn blocks() -> (Sender<()>, Self) {
        let (release, blocked) = channel();
        (release, Self::Blocks(Arc::new(Mutex::new(blocked))))
    }
}

struct Left(Leftover);

impl Drop for Left {
    fn drop(&mut self) {
        match &self.0 {
            Leftover::Panics if !std::thread::panicking() => panic!("as it is dropped"),
            Leftover::Panics => {}
            Leftover::Blocks(blocked) => drop(blocked.lock().unwrap().recv()),
        }
    }
}

impl fmt::Debug for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Left")
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("left")
    }
}

impl std::error::Error for Left {}

fn serve(leftover: Leftover, threads: usize) -> Running {
    let mut limits = Limits::default();
    limits.handler = Duration::from_millis(50);
    limits.drain = Duration::from_millis(500);
    let handler = move |request: Request| {
        let leftover = leftover.clone();
        async move {
            match &*request.text() {
                "an error" => Err::<Reply, _>(Fault::from(Left(leftover))),
                "late" => {
                    let _left = Left(leftover);
                    // Longer than it may take, and on its worker.
                    std::thread::sleep(Duration::from_millis(200));
                    pending().await
                }
                _ => Ok("OK\n".into()),
            }
        }
    };
    Running::start(|server: Server| server.limits(limits).threads(threads), handler)
}

/// Its worker was gone: after as many such clients as there were workers no client was accepted any more,
/// and the server did not even stop.
#[test]
fn an_error_that_panics_as_it_is_dropped_costs_no_worker() {
    let mut server = serve(Leftover::Panics, 2);
    for _ in 0..4 {
        assert_eq!(ask(&server.path, "an error"), "ERR the handler failed\n");
    }
    assert_eq!(ask(&server.path, "hello"), "OK\n");
    server.stop();
    server.wait();
}

#[test]
fn a_late_handler_that_panics_as_it_is_dropped_costs_no_worker() {
    let mut server = serve(Leftover::Panics, 2);
    for _ in 0..4 {
        assert_eq!(ask(&server.path, "late"), "ERR the handler took longer than 50ms\n");
    }
    assert_eq!(ask(&server.path, "hello"), "OK\n");
    server.stop();
    server.wait();
}

/// They blocked the worker, which seemed to be free: the next client waited with it, and so did a stop.
#[test]
fn what_is_slow_to_drop_holds_up_no_worker_and_no_stop() {
    for (message, told) in [
        ("an error", "ERR the handler failed\n"),
        ("late", "ERR the handler took longer than 50ms\n"),
    ] {
        let (release, leftover) = Leftover::blocks();
        let mut server = serve(leftover, 1);
        assert_eq!(ask(&server.path, message), told);
        assert_eq!(ask(&server.path, "hello"), "OK\n");
        server.stop();
        let begun = Instant::now();
        // The thread that `serve` would return on is the one that is blocked.
        while server.path.exists() {
            assert!(begun.elapsed() < PATIENCE, "it does not stop");
            std::thread::yield_now();
        }
        drop(release);
        server.wait();
    }
}

/// The value of a panic is dropped by the thread that catches the panic: all workers were gone, and the
/// stop with them.
#[test]
fn what_refuses_may_panic_with_anything() {
    let refusal = |_: &_| std::panic::panic_any(Left(Leftover::Panics));
    let allow_nobody = |server: Server| server.allow([u32::MAX - 1], []).refuse_with(refusal);
    let mut server = Running::start(allow_nobody, async |_: Request| Ok("OK\n"));
    for _ in 0..32 {
        assert_eq!(read_to_end(connect(&server.path)), "");
    }
    server.stop();
    server.wait();
}
