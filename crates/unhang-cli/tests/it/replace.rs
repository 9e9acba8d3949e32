//! Replacing a running server: nobody notices, and a successor that fails changes nothing.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::{Place, UNHANG, await_some};

fn inode(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().ino()
}

fn control(place: &Place) -> PathBuf {
    place.folder.path().join("s.ctl")
}

fn is_answer(reply: &[u8]) -> bool {
    reply.starts_with(b"OK+ at ")
}

/// Asks once, and waits until this server's log tells of it: until the old one is through with
/// accepting, that may have answered instead.
fn serves(server: &Daemon, place: &Place) -> bool {
    let answered = is_answer(&Peer::ask(&place.socket, b"hello"));
    server.await_line("answered");
    answered
}

#[test]
fn the_successor_serves_the_same_file_and_the_old_one_finishes_and_ends() {
    let place = Place::new();
    let mut old = Daemon::serve(&place.socket, &["--until", "newline"]);
    let before = inode(&place.socket);
    let mut under_way = Peer::connect(&place.socket);
    under_way.write(b"hel");
    // Accepted, as the next is answered.
    assert!(is_answer(&Peer::ask(&place.socket, b"hello\n")));

    let new = Daemon::serve(&place.socket, &["--replace"]);
    let line = old.await_line("replaced");
    assert!(line.contains(&new.pid().to_string()), "{line}");
    old.await_line("stopping");
    assert!(serves(&new, &place));
    under_way.write(b"lo\n");
    assert!(is_answer(&under_way.read_to_end()));
    assert!(old.wait().success());

    assert_eq!(inode(&place.socket), before);
    assert!(serves(&new, &place));
    let refused = std::process::Command::new(UNHANG).arg("serve").arg(&place.socket).output();
    let said = String::from_utf8(refused.unwrap().stderr).unwrap();
    assert!(said.contains(&format!("process {}", new.pid())), "{said}");
    assert!(new.stop().0.success());
    assert!(!place.socket.exists() && !control(&place).exists());
}

#[test]
fn who_has_replaced_can_be_replaced() {
    let place = Place::new();
    let mut servers = vec![Daemon::serve(&place.socket, &[])];
    for _ in 0..5 {
        servers.push(Daemon::serve(&place.socket, &["--replace"]));
    }
    let last = servers.pop().unwrap();
    for mut server in servers {
        assert!(server.wait().success());
    }
    assert!(serves(&last, &place));
}

#[test]
fn with_nobody_to_replace_it_just_starts() {
    let place = Place::new();
    let mut server = Daemon::serve(&place.socket, &["--replace"]);
    assert!(serves(&server, &place));
    server.signal(Signal::KILL);
    server.wait();
    // What it has left, the control socket too, is stale.
    let server = Daemon::serve(&place.socket, &["--replace"]);
    assert!(serves(&server, &place));
    let next = Daemon::serve(&place.socket, &["--replace"]);
    server.await_line("replaced");
    // Until then it may still be the one that answers.
    server.await_line("stopping");
    assert!(serves(&next, &place));
}

#[test]
fn an_abstract_name_is_handed_over_too() {
    let name = format!("@unhang-replace-test-{}", std::process::id());
    let mut old = Daemon::serve(&name, &[]);
    let new = Daemon::serve(&name, &["--replace"]);
    assert!(old.wait().success());
    let output =
        std::process::Command::new(UNHANG).args(["call", &name, "hello"]).output().unwrap();
    assert!(is_answer(&output.stdout), "{output:?}");
    assert!(new.stop().0.success());
}

#[test]
fn a_successor_that_is_never_ready_changes_nothing() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--log", "json"]);
    let before = inode(&place.socket);
    // It asks, gets the sockets, and dies.
    let mut successor = UnixStream::connect(control(&place)).unwrap();
    successor.write_all(b"unhang replace 1\n").unwrap();
    drop(successor);
    server.await_line("not_replaced");
    // It speaks another language.
    let mut stranger = UnixStream::connect(control(&place)).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let told = std::io::read_to_string(&stranger).unwrap();
    assert!(told.contains("expected") && told.contains("GET"), "{told}");
    server.await_line("not_replaced");
    assert!(serves(&server, &place));
    assert_eq!(inode(&place.socket), before);
    // And it can still be replaced.
    let new = Daemon::serve(&place.socket, &["--replace"]);
    server.await_line("replaced");
    // Until then it may still be the one that answers.
    server.await_line("draining");
    assert!(serves(&new, &place));
}

#[test]
fn who_is_killed_while_its_predecessor_drains_can_be_started_again_at_once() {
    let place = Place::new();
    let arguments = ["--until", "newline", "--read-deadline", "1h", "--drain-deadline", "1h"];
    let old = Daemon::serve(&place.socket, &arguments);
    let mut under_way = Peer::connect(&place.socket);
    under_way.write(b"hel");
    assert!(is_answer(&Peer::ask(&place.socket, b"hello\n")));
    let mut new = Daemon::serve(&place.socket, &["--replace"]);
    old.await_line("stopping");
    new.signal(Signal::KILL);
    new.wait();

    // The old one has nothing left of the socket: neither the lock, nor a queue that nobody serves.
    let refused = UnixStream::connect(&place.socket).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let next = Daemon::serve(&place.socket, &[]);
    assert!(serves(&next, &place));
    under_way.write(b"lo\n");
    assert!(is_answer(&under_way.read_to_end()));
}

#[test]
fn who_ends_while_it_is_asked_is_nobody_to_replace() {
    let place = Place::new();
    let control = UnixListener::bind(control(&place)).unwrap();
    let mut command = std::process::Command::new(UNHANG);
    let server = Daemon::spawn(command.arg("serve").arg(&place.socket).arg("--replace"));
    let asked = control.accept().unwrap();
    drop((control, asked));
    server.await_line("listening");
    assert!(serves(&server, &place));
}

#[test]
fn only_its_own_user_may_reach_for_the_socket() {
    let place = Place::new();
    let _server = Daemon::serve(&place.socket, &["--mode", "0666"]);
    assert_eq!(control(&place).symlink_metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn under_load_no_call_fails() {
    const REPLACEMENTS: usize = 50;
    let place = Place::new();
    let mut server = Daemon::serve(&place.socket, &["--quiet"]);
    let (done, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(is_answer(&Peer::ask(&place.socket, b"hello")));
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..REPLACEMENTS {
            let before = calls.load(Ordering::Relaxed);
            let new = Daemon::serve(&place.socket, &["--quiet", "--replace"]);
            let mut old = std::mem::replace(&mut server, new);
            assert!(old.wait().success());
            await_some("calls go on", || (calls.load(Ordering::Relaxed) > before).then_some(()));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(server.stop().0.success());
}

/// It waited in a queue that nobody looked at, until the successor's time was up.
#[test]
fn who_comes_while_a_server_stops_with_a_successor_that_is_slow_is_served() {
    let place = Place::new();
    let mut server = Daemon::serve(&place.socket, &["--log", "json"]);
    let mut slow = UnixStream::connect(control(&place)).unwrap();
    slow.write_all(b"unhang replace 1\n").unwrap();
    // The first bytes of what it is given; it never says that it serves.
    slow.read_exact(&mut [0; 1]).unwrap();
    server.signal(Signal::TERM);
    // So many that it has begun to stop before the last of them. It would be gone after the first that
    // it let wait until the successor's time was up.
    for _ in 0..500 {
        assert!(is_answer(&Peer::ask(&place.socket, b"hello")));
    }
    drop(slow);
    assert!(server.wait().success());
}
