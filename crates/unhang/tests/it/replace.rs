//! A server that takes over from another, with nobody but one client to notice.

use std::io::Write;
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use tempfile::TempDir;
use unhang::{Bind, Limits, Listener, Server};

use crate::support::{PATIENCE, ask, connect, read_to_end, serve};

/// It waited until the next one came: the kernel had woken a worker of the server that was leaving,
/// and wakes no other for the same client.
#[test]
fn the_only_client_is_not_left_to_a_server_that_is_leaving() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let next = || serve(Server::new(Bind::new(&path).replace(true).listen().unwrap()).threads(2)).1;
    let mut old = next();
    for round in 0..300 {
        let new = next();
        let later = Instant::now() + Duration::from_micros(fastrand::u64(0..800));
        while Instant::now() < later {
            std::hint::spin_loop();
        }
        let mut client = connect(&path);
        client.write_all(b"hello").unwrap();
        assert_eq!(read_to_end(client), "hello", "in round {round}");
        old.recv_timeout(PATIENCE).unwrap().unwrap();
        old = new;
    }
}

/// It waited until the next one came.
#[test]
fn a_client_is_not_left_to_a_process_that_was_woken_for_it_and_does_not_accept() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let shared = UnixListener::bind(&path).unwrap();
    // Of all that wait so, the kernel wakes the one that came first.
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    let events = EventFlags::IN | EventFlags::EXCLUSIVE;
    epoll::add(&epoll, &shared, EventData::new_u64(0), events).unwrap();
    let _served = serve(Server::new(Listener::inherited(shared).unwrap()));
    assert_eq!(ask(&path, "hello"), "hello", "it serves, and waits from now on");
    let (begins, began) = channel();
    let other = std::thread::spawn(move || {
        begins.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
        let longest = Timespec { tv_sec: 30, tv_nsec: 0 };
        epoll::wait(&epoll, &mut [MaybeUninit::uninit(); 1], Some(&longest)).unwrap().0.len()
    });
    let state = Path::new("/proc").join(began.recv().unwrap()).join("stat");
    while !std::fs::read_to_string(&state).unwrap().contains(") S ") {
        std::thread::yield_now();
    }

    assert_eq!(ask(&path, "hello"), "hello");
    assert_eq!(other.join().unwrap(), 1, "who was woken for it");
}

/// It did for ten seconds: also a successor that wanted to replace the server, and the server's own end.
#[test]
fn an_asker_that_says_nothing_holds_up_those_behind_it_for_a_moment() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let _served = serve(Server::bind(&path).unwrap());
    assert_eq!(ask(&path, "hello"), "hello", "it serves");
    let control = directory.path().join("s.ctl");
    let _silent = connect(&control);
    let mut next = connect(&control);
    next.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    next.write_all(b"unhang in-flight 1\n").unwrap();
    assert_eq!(read_to_end(next), "until dry\n");
}

/// They were told that it is busy, and only when the successor had been given up, after ten seconds.
#[test]
fn a_client_in_the_queue_is_told_at_the_end_of_the_drain_whatever_a_successor_does() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let mut limits = Limits::default();
    limits.max_connections = 1;
    limits.queue = Duration::from_millis(200);
    limits.drain = Duration::from_millis(200);
    let (stop, served) = serve(Server::bind(&path).unwrap().limits(limits));
    let inside = connect(&path);
    // It has asked, and does not say that it serves.
    let silent = Bind::new(&path).replace(true).listen().unwrap();
    let queued = connect(&path);
    stop.send(()).unwrap();
    for waiting in [inside, queued] {
        assert_eq!(read_to_end(waiting), "ERR the server is stopping\n");
    }
    drop(silent);
    served.recv_timeout(PATIENCE).unwrap().unwrap();
}

/// Writes a byte now and then, and never a newline.
fn dawdle(mut stream: UnixStream) {
    std::thread::spawn(move || {
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// Each byte gave it another second.
#[test]
fn an_asker_byte_by_byte_holds_up_those_behind_it_for_a_moment() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let _served = serve(Server::bind(&path).unwrap());
    assert_eq!(ask(&path, "hello"), "hello", "it serves");
    let control = directory.path().join("s.ctl");
    dawdle(connect(&control));
    let mut next = connect(&control);
    next.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    next.write_all(b"unhang in-flight 1\n").unwrap();
    assert_eq!(read_to_end(next), "until dry\n");
}

/// The server waited for the thread that heard it, for as long as it pleased. Now it does not even for
/// the second that it may take; and that thread holds nothing that the next server needs.
#[test]
fn an_asker_byte_by_byte_does_not_hold_up_the_end() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let (stop, finished) = serve(Server::bind(&path).unwrap());
    assert_eq!(ask(&path, "hello"), "hello", "it serves");
    dawdle(connect(&directory.path().join("s.ctl")));
    stop.send(()).unwrap();
    finished.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
    drop(Server::bind(&path).unwrap());
}
