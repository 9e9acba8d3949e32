//! No file descriptor is left.

use std::process::Command;

use rustix::process::Signal;

use super::{assert_ended, assert_serves, is_answer, next_exchange, serve, serve_with_descriptors};
use crate::support::peer::Peer;
use crate::support::{Place, UNHANG, await_some};

#[test]
fn clients_that_find_none_are_told_and_the_log_says_once_why() {
    let place = Place::new();
    // Room for the server itself and some connections.
    let server = serve_with_descriptors(&place, 32, &["--until", "newline"]);
    // Once it serves, it has all that it needs for itself.
    assert_serves(&server, &place);
    server.await_idle();
    let baseline = server.descriptors_at_rest();
    let free = server.free_descriptors(32);
    let mut peers: Vec<_> = (0..64).map(|_| Peer::connect(&place.socket)).collect();
    let said = server.await_line("accept_failed");
    assert!(said.contains("Too many open files"), "{said}");
    // Those that came first have theirs; everybody after them is told.
    let told = peers.split_off(free);
    for mut peer in told {
        assert_eq!(peer.read_to_end(), b"ERR busy: out of file descriptors\n");
        // Each has its own line, and no other comes between.
        let line = server.await_line("");
        assert!(line.contains("\"why\":\"busy: out of file descriptors\""), "{line}");
    }
    for mut peer in peers {
        peer.write(b"hello\n");
        assert!(is_answer(&peer.read_to_end()));
        assert_eq!(next_exchange(&server)["ended"], "answered");
    }
    await_some("its descriptors are back where they were", || {
        (server.descriptors() == baseline).then_some(())
    });
    assert_serves(&server, &place);
}

/// Whenever the queue was empty the workers were sent to try again, with or without a client: the log said
/// so for each, and the server never slept.
#[test]
fn clients_that_come_one_by_one_are_told_and_the_log_says_once_why() {
    let place = Place::new();
    let server = serve_with_descriptors(&place, 32, &["--until", "newline"]);
    assert_serves(&server, &place);
    server.await_idle();
    let free = server.free_descriptors(32);
    let mut served: Vec<_> = (0..free).map(|_| Peer::connect(&place.socket)).collect();
    let told = || {
        let said = Peer::connect(&place.socket).read_to_end();
        assert_eq!(said, b"ERR busy: out of file descriptors\n");
    };
    told();
    server.await_line("accept_failed");
    assert_ended(&server, "refused", Some("busy: out of file descriptors"));
    for _ in 0..3 {
        told();
        let line = server.await_line("");
        assert!(line.contains("\"refused\""), "{line}");
    }
    server.await_idle();
    // A client that is served in between ends it.
    let mut last = served.pop().unwrap();
    last.write(b"hello\n");
    assert!(is_answer(&last.read_to_end()));
    assert_eq!(next_exchange(&server)["ended"], "answered");
    served.push(Peer::connect(&place.socket));
    told();
    assert!(server.await_line("").contains("accept_failed"));
}

/// With none left an empty queue gives the same error as a full one: it was waited for the drain's whole
/// time.
#[test]
fn a_stop_without_any_is_over_when_nobody_waits() {
    let place = Place::new();
    // For longer than this test.
    let mut server = serve(&place, &["--drain-deadline", "1h"]);
    assert_serves(&server, &place);
    server.await_idle();
    server.leave_no_descriptor();
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}

/// It panicked: a runtime was dropped on a thread on which that is not allowed.
#[test]
fn too_few_to_start_with_are_an_error() {
    let place = Place::new();
    let started = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$@\"", "sh", UNHANG, "serve"])
        .arg(&place.socket)
        .args(["--threads", "300", "--max-connections", "1000"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&started.stderr);
    assert_eq!(started.status.code(), Some(1), "{said}");
    assert!(said.contains("Too many open files"), "{said}");
}
