//! Replacing a running server: nobody notices, and a successor that fails changes nothing.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Resource, Signal};

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::unable;
use crate::support::{PATIENCE, Place, UNHANG, await_some};

fn inode(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().ino()
}

fn control(place: &Place) -> PathBuf {
    place.directory.path().join("s.ctl")
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
    let refused = Command::new(UNHANG).arg("serve").arg(&place.socket).output();
    let said = String::from_utf8(refused.unwrap().stderr).unwrap();
    assert!(said.contains(&format!("process {}", new.pid())), "{said}");
    assert!(new.stop().0.success());
    assert!(!place.socket.exists() && !control(&place).exists());
}

#[test]
fn a_successor_can_be_replaced() {
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
    // Its leftovers, the control socket too, are stale.
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
    let output = Command::new(UNHANG).args(["call", &name, "hello"]).output().unwrap();
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
fn a_server_killed_while_the_old_one_drains_can_be_started_again_at_once() {
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
fn a_server_that_ends_while_it_is_asked_is_nobody_to_replace() {
    let place = Place::new();
    let control = UnixListener::bind(control(&place)).unwrap();
    let mut command = Command::new(UNHANG);
    let server = Daemon::spawn(command.arg("serve").arg(&place.socket).arg("--replace"));
    let asked = control.accept().unwrap();
    drop((control, asked));
    server.await_line("listening");
    assert!(serves(&server, &place));
}

/// It was heard ten seconds later.
#[test]
fn a_successor_that_waits_for_a_stopped_server_hears_a_signal() {
    let place = Place::new();
    let old = Daemon::serve(&place.socket, &[]);
    old.freeze();
    let mut command = Command::new(UNHANG);
    command.arg("serve").arg(&place.socket).arg("--replace");
    let mut new = Daemon::spawn(command.stderr(Stdio::piped()));
    await_some("it catches the signal", || catches(&new, Signal::TERM).then_some(()));
    new.signal(Signal::TERM);
    // The other answers nothing, so that it would end with an error.
    assert!(new.wait().success());
    old.thaw();
    assert!(serves(&old, &place));
}

/// An answer, or that it is busy; nothing by one that ends before it serves.
fn is_told_something(place: &Place) -> bool {
    let told = UnixStream::connect(&place.socket).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"hello")?;
        std::io::read_to_string(stream)
    });
    told.is_ok_and(|told| !told.is_empty())
}

/// `proc_pid_status(5)`: a mask in hexadecimal, its lowest bit for signal 1.
fn catches(process: &Daemon, signal: Signal) -> bool {
    let status = format!("/proc/{}/status", process.pid());
    let status = std::fs::read_to_string(status).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal.as_raw() - 1) & 1 == 1
}

/// A server with one worker and only so many descriptors, until its limit is raised.
fn with_descriptors(place: &Place, most: usize) -> Command {
    let limited = format!("ulimit -Sn {most}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited, "sh", UNHANG, "serve"]).arg(&place.socket);
    command.args(["--threads", "1"]);
    command
}

/// With two left it got the sockets and not the lock, and went without it.
#[test]
fn a_successor_without_descriptors_for_all_that_it_is_given_says_so() {
    let place = Place::new();
    let old = Daemon::serve(&place.socket, &["--log", "json"]);
    let mut said = 0;
    for most in 4..64 {
        let mut command = with_descriptors(&place, most);
        let mut new = Daemon::spawn(command.arg("--replace").stderr(Stdio::piped()));
        let ended = await_some("it serves or ends", || match new.try_wait() {
            None => old.line("\"replaced\"").map(|_| None),
            ended => Some(ended),
        });
        let Some(ended) = ended else {
            // With a number that is in use already, one more leaves room for no more.
            assert!(said >= 3, "none left, one and two");
            new.limit(Resource::Nofile, Some(1024));
            // Until then the old one may still be the one that answers.
            old.await_line("draining");
            assert!(serves(&new, &place));
            return;
        };
        assert!(!ended.success());
        let output = new.stderr();
        if output.contains("take the socket over") && output.contains("open more files") {
            said += 1;
        }
        assert!(serves(&old, &place));
    }
    panic!("it never had enough");
}

/// Regression: the task that is asked could not be started, or had panicked. Now nothing more is needed to
/// be asked: not a descriptor, and not a thread.
#[test]
fn a_server_without_a_free_descriptor_or_thread_can_be_replaced() {
    let place = Place::new();
    let server = (4..64).find_map(|most| {
        let mut server = Daemon::spawn(&mut with_descriptors(&place, most));
        // With the fewest that it does not end for, none is left.
        let ended = await_some("it has all that it needs, or ends", || match server.try_wait() {
            None => {
                let idle = server.threads_sleep() && server.free_descriptors(most) == 0;
                idle.then_some(false)
            }
            Some(_) => Some(true),
        });
        (!ended).then_some(())?;
        server.limit(Resource::Nofile, Some(1024));
        await_some("it serves, or was about to end", || match server.try_wait() {
            None => is_told_something(&place).then_some(true),
            Some(_) => Some(false),
        })
        .then_some(server)
    });
    let mut server = server.unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let size: u64 = size.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    // Room for what it does, and not for the stack of a thread more.
    server.limit(Resource::As, Some((size + 512) * 1024));
    let new = Daemon::serve(&place.socket, &["--replace"]);
    assert!(server.wait().success());
    assert!(serves(&new, &place));
}

#[test]
fn only_its_own_user_may_reach_for_the_socket() {
    let place = Place::new();
    let _server = Daemon::serve(&place.socket, &["--mode", "0666"]);
    assert_eq!(control(&place).symlink_metadata().unwrap().mode() & 0o777, 0o600);
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

#[test]
fn under_load_no_call_fails() {
    const REPLACEMENTS: usize = 50;
    let place = Place::new();
    let mut server = Daemon::serve(&place.socket, &["--quiet"]);
    let (done, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // Also if this panics, as the scope waits for all.
        let _done = OnDrop(|| done.store(true, Ordering::Relaxed));
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
    });
    assert!(server.stop().0.success());
}

/// It waited in a queue that nobody looked at, until the successor's time was up.
#[test]
fn a_client_that_comes_while_a_server_stops_with_a_slow_successor_is_served() {
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

/// Regression: in a user namespace that maps nobody, the server and every other user have the same number, and
/// any of them was given the listener.
#[test]
fn a_user_that_the_namespace_does_not_map_is_not_given_the_socket() {
    if !rustix::process::getuid().is_root() {
        return unable("only root can ask as another user");
    }
    let name = format!("unhang-unmapped-{}", std::process::id());
    let mut command = Command::new("unshare");
    command.args(["--user", UNHANG, "serve", &format!("@{name}")]);
    let server = Daemon::start(&mut command, "listening");
    // It may have been told before it could ask.
    let ask = "import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect('\\0' + sys.argv[1])
try:
    s.sendall(b'unhang replace 1\\n')
except BrokenPipeError:
    pass
print(s.recv(500).decode())";
    let mut asks = Command::new("/usr/bin/python3");
    asks.args(["-c", ask, &format!("{name}.ctl")]).uid(12_345).gid(12_345);
    let told = String::from_utf8(asks.output().unwrap().stdout).unwrap();
    assert!(told.contains("runs as user 65534") && told.contains("it could be anybody"), "{told}");
    server.await_line("not replaced");
}
