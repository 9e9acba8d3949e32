//! A file system that takes nothing: full or read-only at the start, full under the log.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::{command, is_answer};
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::say;
use crate::support::{Place, await_some};

/// Starts a server in a directory of the kind that `options` make, which no other process can see, and
/// gives its exit code and what it said; or nothing, if nothing may be mounted.
fn start_on(options: &str) -> Option<(Option<i32>, String)> {
    let place = Place::new();
    // With a timeout, as a server that does start would hang the test.
    let steps = "mount -t tmpfs -o \"$0\" tmpfs \"$1\" && echo mounted && shift && \
                 exec timeout 20 \"$@\"";
    let server = command(&place, &[]);
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", steps, options])
        .arg(place.directory.path())
        .arg(server.get_program())
        .args(server.get_args())
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let mounted = output.stdout.starts_with(b"mounted");
    mounted.then(|| (output.status.code(), String::from_utf8(output.stderr).unwrap()))
}

fn assert_says(options: &str, parts: &[&str]) {
    let Some((code, said)) = start_on(options) else {
        say("skipped: this user may not mount a file system");
        return;
    };
    assert_eq!(code, Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
}

#[test]
fn full_for_the_lock_it_does_not_start_and_says_so() {
    // One inode, which is the directory itself.
    let parts = ["cannot lock", "s.lock: No space left on device", "Free some space or inodes"];
    assert_says("nr_inodes=1", &parts);
}

#[test]
fn full_for_the_socket_it_does_not_start_and_says_so() {
    let parts = ["cannot bind the socket: No space left on device", "Free some space or inodes"];
    assert_says("nr_inodes=2", &parts);
}

#[test]
fn read_only_it_does_not_start_and_says_so() {
    let parts = ["s.lock: Read-only file system", "Choose a directory on one that can be written"];
    assert_says("ro", &parts);
}

#[test]
fn a_full_disk_under_the_log_costs_lines_and_no_client() {
    let place = Place::new();
    let plain = command(&place, &[]);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" >/dev/full", "sh"]);
    let server = Daemon::spawn(command.arg(plain.get_program()).args(plain.get_args()));
    await_some("it listens", || UnixStream::connect(&place.socket).ok());
    for _ in 0..100 {
        assert!(is_answer(&Peer::ask(&place.socket, b"hello\n")));
    }
    assert!(server.stop().0.success());
}

/// The kernel sends a signal that ends a process which has not asked for another way: 47 of 96 clients found nobody.
#[test]
fn a_log_at_the_limit_of_its_size_costs_lines_and_no_client() {
    let place = Place::new();
    let plain = command(&place, &[]);
    let mut command = Command::new("sh");
    // In blocks of 512 bytes.
    command.args(["-c", "log=$0; ulimit -f 4; exec \"$@\" >\"$log\""]);
    let log = place.directory.path().join("log");
    command.arg(&log).arg(plain.get_program()).args(plain.get_args());
    let server = Daemon::spawn(&mut command);
    await_some("it listens", || UnixStream::connect(&place.socket).ok());
    for _ in 0..100 {
        assert!(is_answer(&Peer::ask(&place.socket, b"hello\n")));
    }
    assert!(server.stop().0.success());
    assert_eq!(log.metadata().unwrap().len(), 2048);
}
