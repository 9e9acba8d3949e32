//! The statuses of HTTP for a request that a program, a worker or a server behind did not answer.

use std::path::Path;
use std::thread;

use super::Served;
use crate::support::Place;
use crate::support::peer::Peer;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// The status line, and whether the client is told to try again soon.
fn status(socket: &Path) -> (String, bool) {
    let reply = String::from_utf8(Peer::ask(socket, GET)).unwrap();
    let line = reply.lines().next().unwrap_or_default().to_owned();
    (line, reply.contains("\r\nRetry-After: 1\r\n"))
}

/// Each of them was a 500: a proxy in front retries a 503 elsewhere, and counts a 500 as a bug.
#[test]
fn a_busy_program_is_503_and_a_late_one_504() {
    let flags = ["--wire", "http", "--handler-deadline", "3s", "--queue-deadline", "200ms"];
    let served = Served::sh(&[&flags[..], &["--processes", "1"]].concat(), "exec sleep 600");
    let workers =
        Served::sh(&[&flags[..], &["--workers", "1"]].concat(), "read -r x; exec sleep 600");
    for served in [served, workers] {
        let socket = &served.place.socket;
        let mut answers: Vec<_> = thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| status(socket)));
            both.into_iter().map(|one| one.join().unwrap()).collect()
        });
        answers.sort();
        let busy = ("HTTP/1.1 503 Service Unavailable".to_owned(), true);
        let late = ("HTTP/1.1 504 Gateway Timeout".to_owned(), false);
        assert_eq!(answers, [busy, late]);
    }
}

#[test]
fn a_server_that_is_not_there_is_503_and_a_program_that_fails_500() {
    let place = Place::new();
    let behind = place.directory.path().join("behind");
    let to = behind.to_str().unwrap();
    let flags = ["--wire", "http", "--queue-deadline", "100ms", "--to", to];
    let (line, again) = status(&Served::with(&flags).place.socket);
    assert_eq!((&*line, again), ("HTTP/1.1 503 Service Unavailable", true));
    let (line, again) = status(&Served::sh(&["--wire", "http"], "exit 3").place.socket);
    assert_eq!((&*line, again), ("HTTP/1.1 500 Internal Server Error", false));
}
