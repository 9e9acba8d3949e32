//! One test per bug, named after what broke.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::{Place, UNHANG, await_some};

/// The signal that lets a server go on ends its wait for sockets with no news of them, and its
/// clock is past the deadline: it looked at the clock and not again at the sockets.
#[test]
fn a_request_that_came_while_the_server_was_stopped_was_told_it_is_late() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--until", "newline", "--read-deadline", "2s"]);
    let mut peer = Peer::connect(&place.socket);
    // Answered after it: the other has been accepted, and is waited for.
    Peer::ask(&place.socket, b"hello\n");
    server.await_idle();
    server.freeze();
    peer.write(b"hello\n");
    std::thread::sleep(Duration::from_millis(2100));
    server.thaw();
    let reply = peer.read_to_end();
    assert!(reply.starts_with(b"OK+ at "), "{:?}", reply.escape_ascii().to_string());
}

/// What the first of them was told with was given to the second, and the third found nothing to be
/// told with.
#[test]
fn of_those_who_came_out_of_descriptors_only_the_first_was_told() {
    let place = Place::new();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 32; exec \"$@\"", "sh", UNHANG, "serve"]).arg(&place.socket);
    let server = Daemon::start(command.args(["--until", "newline"]), "listening");
    // Once it serves, it has all that it needs for itself.
    Peer::ask(&place.socket, b"hello\n");
    server.await_idle();
    let free = server.free_descriptors(32);
    let _inside: Vec<_> = (0..free).map(|_| Peer::connect(&place.socket)).collect();
    for _ in 0..10 {
        let told = Peer::connect(&place.socket).read_to_end();
        assert_eq!(told.escape_ascii().to_string(), "ERR busy: out of file descriptors\\n");
    }
}

/// There was no room for the order to write what waits, and so the server did not wait at all.
#[test]
fn a_log_that_was_full_at_the_stop_lost_its_end_and_did_not_say_so() {
    let place = Place::new();
    let mut server = Command::new(UNHANG);
    server.arg("serve").arg(&place.socket).args(["--log", "json"]);
    let mut child = server.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    await_some("it listens", || UnixStream::connect(&place.socket).ok());
    // Many times what the pipe (64 KiB) and the lines that may wait can hold.
    for _ in 0..8000 {
        Peer::ask(&place.socket, b"hello");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    await_some("it stops", || (!place.socket.exists()).then_some(()));
    let log = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(log.contains("dropped_lines"), "{} bytes of log", log.len());
}
