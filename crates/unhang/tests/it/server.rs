//! What a service can do wrong, and what its clients see: each is answered in time all the same.

use std::future::{pending, ready};
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use unhang::{Cause, Ended, Event, Fault, Limits, Lost, Reply, Request, Server, Until};

use crate::support::{PATIENCE, Running, ask, connect, read_to_end};

async fn echo(request: Request) -> Result<Reply, Fault> {
    Ok(request.into_bytes().into())
}

fn short_handler_deadline(server: Server) -> Server {
    let mut limits = Limits::default();
    limits.handler = Duration::from_millis(50);
    server.limits(limits)
}

#[test]
fn what_an_engineer_writes_unread_compiles_and_answers() {
    let plain = Running::start(|server| server, echo);
    assert_eq!(ask(&plain.path, "hello"), "hello");

    let text = Running::start(
        |server| server,
        async |request: Request| Ok(format!("hello, {}\n", request.text())),
    );
    assert_eq!(ask(&text.path, "world"), "hello, world\n");

    let count = Arc::new(AtomicUsize::new(0));
    let shared = Running::start(
        |server| server,
        move |_request: Request| {
            let count = Arc::clone(&count);
            async move { Ok(format!("{}\n", count.fetch_add(1, Ordering::Relaxed))) }
        },
    );
    assert_eq!(ask(&shared.path, "x") + &ask(&shared.path, "x"), "0\n1\n");

    let errors = Running::start(
        |server| server,
        async |request: Request| {
            let number: u32 = request.text().parse()?;
            Ok(format!("{}\n", number + 1))
        },
    );
    assert_eq!(ask(&errors.path, "41\n"), "42\n");
    assert_eq!(ask(&errors.path, "many\n"), "ERR the handler failed\n");
}

#[test]
fn a_handler_that_never_ends_is_dropped_at_its_deadline() {
    struct Dropped(Arc<Mutex<Option<std::sync::mpsc::Sender<()>>>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            if let Some(sender) = self.0.lock().unwrap().take() {
                let _ = sender.send(());
            }
        }
    }
    let (sender, dropped) = channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let server = Running::start(short_handler_deadline, move |_: Request| {
        let guard = Dropped(Arc::clone(&sender));
        async move {
            let _guard = guard;
            pending::<Result<Reply, Fault>>().await
        }
    });
    assert_eq!(ask(&server.path, "hello"), "ERR the handler took longer than 50ms\n");
    dropped.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn what_a_client_is_told_can_be_replaced_or_turned_off() {
    let own = |cause: &Cause| match cause {
        Cause::HandlerFailed(_) => Some("{\"error\":true}\n".into()),
        _ => None,
    };
    let server = Running::start(
        |server| short_handler_deadline(server).refuse_with(own),
        async |request: Request| match &*request.text() {
            "fail" => Err::<Reply, _>(Fault::new("no")),
            _ => pending().await,
        },
    );
    assert_eq!(ask(&server.path, "fail"), "{\"error\":true}\n");
    assert_eq!(ask(&server.path, "never"), "");
}

/// Its worker was gone: after as many such clients as there were workers no client was accepted any more,
/// and the server did not even stop.
#[test]
fn what_refuses_may_panic() {
    let mut server = Running::start(
        |server| server.allow([u32::MAX - 1], []).refuse_with(|_| panic!("as asked")),
        echo,
    );
    for _ in 0..32 {
        assert_eq!(read_to_end(connect(&server.path)), "");
    }
    server.stop();
    server.wait();
}

/// It was the last to have the connection, and told the log of it first.
#[test]
fn a_client_that_has_half_closed_does_not_wait_for_the_log() {
    let (goes_on, go_on) = channel();
    let go_on = Mutex::new(go_on);
    let server = Running::start(
        |server| {
            server.until(Until::HalfClose).observe(move |event| {
                if matches!(event, Event::Exchange(_)) {
                    let _ = go_on.lock().unwrap().recv_timeout(2 * PATIENCE);
                }
            })
        },
        echo,
    );
    // Some of them have sent everything before they are accepted, and so are answered on the worker.
    for _ in 0..100 {
        let mut client = connect(&server.path);
        client.write_all(b"hello").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_to_end(client), "hello");
        goes_on.send(()).unwrap();
    }
}

/// A client that has said nothing waits where its exchange can begin anew; one whose end was seen
/// has said something.
#[test]
fn a_request_of_no_bytes_is_handled_once() {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let server = Running::start(
        |server| server,
        move |_: Request| {
            *count.lock().unwrap() += 1;
            async {
                tokio::task::yield_now().await;
                Ok("empty\n")
            }
        },
    );
    for _ in 0..100 {
        let client = connect(&server.path);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read_to_end(client), "empty\n");
    }
    assert_eq!(*asked.lock().unwrap(), 100);
}

#[test]
fn a_handler_learns_its_peer() {
    let server = Running::start(
        |server| server,
        async |request: Request| {
            let peer = request.peer().ok_or_else(|| Fault::new("nobody asks"))?;
            Ok(format!("{} {} {}\n", peer.pid, peer.uid, peer.gid))
        },
    );
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    assert_eq!(ask(&server.path, "who am I?"), format!("{} {uid} {gid}\n", std::process::id()));
}

#[test]
fn an_observer_sees_every_exchange_and_may_panic() {
    let (sender, seen) = channel();
    let observer = move |event: &Event| {
        if let Event::Exchange(exchange) = event {
            let answered = matches!(exchange.ended, Ended::Answered);
            sender.send((exchange.bytes_in, exchange.bytes_out, answered)).unwrap();
            panic!("as it was told");
        }
    };
    let server = Running::start(|server| server.observe(observer), echo);
    for message in ["hello", "you"] {
        assert_eq!(ask(&server.path, message), message);
        let length = message.len();
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (length, length, true));
    }
}

/// An observer is not to block; but if one did, no thread looked after the clients that the only waiting
/// worker had left in the queue.
#[test]
fn while_an_observer_blocks_clients_are_served() {
    let (release, blocked) = channel::<()>();
    let blocked = Mutex::new(blocked);
    let observer = move |event: &Event| {
        if matches!(event, Event::Exchange(exchange) if exchange.bytes_in == "block".len()) {
            // Ends when the test lets it.
            let _ = blocked.lock().unwrap().recv();
        }
    };
    let server = Running::start(|server| server.threads(2).observe(observer), echo);
    for _ in 0..100 {
        assert_eq!(ask(&server.path, "hi"), "hi");
    }
    let mut patient = connect(&server.path);
    patient.write_all(b"block").unwrap();
    for _ in 0..10 {
        assert_eq!(ask(&server.path, "hi"), "hi");
    }
    assert_eq!(read_to_end(patient), "block");
    drop(release);
}

/// Nobody accepts yet, so all of them lie in the accept queue when the stop comes.
#[test]
fn a_stop_answers_all_clients_under_way_or_in_the_queue() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let server = Server::bind(&path).unwrap().stop_when(ready(()));
    let queued: Vec<_> = (0..50)
        .map(|number| {
            let mut stream = connect(&path);
            write!(stream, "client {number}").unwrap();
            stream
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(server.serve(echo)).unwrap();
    for (number, stream) in queued.into_iter().enumerate() {
        assert_eq!(read_to_end(stream), format!("client {number}"));
    }
    assert!(!path.exists());
}

#[test]
fn a_drain_is_bounded_and_clients_that_are_still_there_are_told() {
    let short_drain = |server: Server| {
        let mut limits = Limits::default();
        limits.drain = Duration::from_millis(50);
        // No other deadline is to end the wait for the silent one.
        limits.read = Duration::MAX;
        server.limits(limits)
    };
    let (started, starts) = channel();
    let mut server = Running::start(short_drain, move |_: Request| {
        let _ = started.send(());
        pending::<Result<Reply, Fault>>()
    });
    let mut handled = connect(&server.path);
    handled.write_all(b"hello").unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    let silent = connect(&server.path);
    server.stop();
    assert_eq!(read_to_end(handled), "ERR the server is stopping\n");
    assert_eq!(read_to_end(silent), "ERR the server is stopping\n");
    server.wait();
    assert!(UnixStream::connect(&server.path).is_err());
}

/// The one place is taken until the end, so nobody of the queue can be served.
#[test]
fn a_client_still_in_the_queue_when_the_drain_is_over_is_told() {
    let tight = |server: Server| {
        let mut limits = Limits::default();
        limits.max_connections = 1;
        limits.queue = PATIENCE;
        limits.drain = Duration::from_millis(50);
        server.limits(limits)
    };
    let (started, starts) = channel();
    let mut server = Running::start(tight, move |_: Request| {
        let _ = started.send(());
        pending::<Result<Reply, Fault>>()
    });
    let mut streams: Vec<_> = (0..5).map(|_| connect(&server.path)).collect();
    for stream in &mut streams {
        stream.write_all(b"hello").unwrap();
    }
    starts.recv_timeout(PATIENCE).unwrap();
    server.stop();
    for stream in streams {
        assert_eq!(read_to_end(stream), "ERR the server is stopping\n");
    }
    server.wait();
}

#[test]
fn no_byte_of_one_exchange_reaches_another() {
    let server = Running::start(|server| server, echo);
    let begun = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                loop {
                    let number = begun.fetch_add(1, Ordering::Relaxed);
                    if number >= 10_000 {
                        return;
                    }
                    // Of every length up to what comes in one piece.
                    let message = format!("{number} ").repeat(number % 5000 + 1);
                    assert_eq!(ask(&server.path, &message), message);
                }
            });
        }
    });
}

#[test]
fn dropping_the_future_stops_at_once_and_removes_the_socket() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let server = Server::bind(&path).unwrap();
    let silent = connect(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            result = server.serve(echo) => panic!("{result:?}"),
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    });
    assert_eq!(read_to_end(silent), "ERR the server is stopping\n");
    let started = std::time::Instant::now();
    while path.exists() {
        assert!(started.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn more_clients_than_connections_are_allowed_are_served_one_after_the_other() {
    let one = |server: Server| {
        let mut limits = Limits::default();
        limits.max_connections = 1;
        server.until(Until::HalfClose).limits(limits)
    };
    let server = Running::start(one, echo);
    let mut streams: Vec<_> = (0..5).map(|_| connect(&server.path)).collect();
    for stream in &mut streams {
        stream.write_all(b"hello").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    for stream in streams {
        assert_eq!(read_to_end(stream), "hello");
    }
}

/// They did not: the loop that took the door over counted its own place as taken.
#[test]
fn with_just_two_places_for_each_the_workers_begin_again() {
    let tight = |server: Server| {
        let mut limits = Limits::default();
        limits.max_connections = 2;
        limits.queue = Duration::from_millis(50);
        server.limits(limits).threads(1)
    };
    let who = async |_: Request| {
        let thread = std::thread::current();
        Ok::<_, Fault>(thread.name().unwrap_or_default().to_owned())
    };
    let mut gauges = None;
    let gauged = |server: Server| {
        gauges = Some(server.gauges());
        tight(server)
    };
    let server = Running::start(gauged, who);
    let gauges = gauges.unwrap();
    let silent: Vec<_> = (0..2).map(|_| connect(&server.path)).collect();
    // Only the loop can have told it.
    assert!(read_to_end(connect(&server.path)).starts_with("ERR busy"));
    drop(silent);
    let begun = std::time::Instant::now();
    while ask(&server.path, "hello") != "unhang-0" {
        assert!(begun.elapsed() < PATIENCE, "the worker does not begin again");
        // A client has its end before its place is free.
        while gauges.connections() > 0 {
            std::thread::yield_now();
        }
    }
}

/// It was never heard of again: such a listener is readable for ever, and the accept loop went round
/// without letting anybody else run.
#[test]
fn that_another_process_has_shut_the_listener_is_said_once_and_ends_no_server() {
    for threads in [0, 2] {
        let (sender, lost) = channel();
        let observer = move |event: &Event| {
            if let Event::SocketLost(lost) = event {
                sender.send(*lost).unwrap();
            }
        };
        let change = |server: Server| server.threads(threads).observe(observer);
        let (mut server, shared) = Running::sharing(change, echo);
        assert_eq!(ask(&server.path, "hello"), "hello");
        shut(&shared);
        assert_eq!(lost.recv_timeout(PATIENCE), Ok(Lost::Shut));
        server.stop();
        server.wait();
        assert_eq!(lost.iter().count(), 0);
    }
}

/// One of them went round for ever.
#[test]
fn the_workers_of_a_listener_that_another_process_has_shut_sleep() {
    let thread = async |_: Request| {
        let thread = std::fs::read_link("/proc/thread-self")?;
        Ok::<_, Fault>(thread.to_string_lossy().into_owned())
    };
    let (server, shared) = Running::sharing(|server| server.threads(1), thread);
    let worker = ask(&server.path, "which thread are you?");
    shut(&shared);
    let sleeps = || {
        let stat = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap();
        // The state follows the name, which stands in parentheses.
        stat.rsplit_once(") ").unwrap().1.starts_with('S')
    };
    let begun = std::time::Instant::now();
    // Looked at more than once: one that goes round may be seen as it sleeps.
    while !(0..100).all(|_| sleeps()) {
        assert!(begun.elapsed() < PATIENCE, "it does not sleep");
    }
}

/// It was not: without a place and without patience, there was nothing that the accept loop waited for.
#[test]
fn connected_clients_are_served_if_another_process_has_shut_the_listener() {
    let full = |server: Server| {
        let mut limits = Limits::default();
        limits.max_connections = 1;
        limits.queue = Duration::ZERO;
        server.limits(limits).until(Until::Newline)
    };
    let (mut server, shared) = Running::sharing(full, echo);
    let mut inside = connect(&server.path);
    // A client that is told so has found no place.
    assert!(ask(&server.path, "hello\n").starts_with("ERR busy"));
    shut(&shared);
    inside.write_all(b"hello\n").unwrap();
    assert_eq!(read_to_end(inside), "hello\n");
    server.stop();
    server.wait();
}

/// As any process that shares it may.
fn shut(shared: &UnixListener) {
    rustix::net::shutdown(shared, rustix::net::Shutdown::Read).unwrap();
}
