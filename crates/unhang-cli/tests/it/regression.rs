//! One test per bug, named after what broke.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
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

/// The reserve descriptor that told the first client was left to the second, and the third client
/// found none.
#[test]
fn of_those_that_came_out_of_descriptors_only_the_first_was_told() {
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

/// It was a panic, and the reply was lost: standard error may be a full disk.
#[test]
fn a_complaint_that_could_not_be_written_was_a_panic() {
    let place = Place::new();
    let directory = place.directory.path();
    std::fs::write(directory.join("file"), "").unwrap();
    let run = |command: &str, path: &str, arguments: &[&str]| {
        let mut child = Command::new(UNHANG);
        child.arg(command).arg(directory.join(path)).args(arguments);
        let full = File::options().write(true).open("/dev/full").unwrap();
        child.stdin(Stdio::null()).stderr(full).output().unwrap()
    };
    assert_eq!(run("call", "missing", &["hello"]).status.code(), Some(3));
    assert_eq!(run("serve", "file", &[]).status.code(), Some(1));
    assert_eq!(run("serve", "missing/s", &[]).status.code(), Some(1));

    let listener = UnixListener::bind(&place.socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        stream.write_all(b"OK\n").unwrap();
        stream
    });
    let output = run("call", "s", &["hello", "--deadline", "300ms"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(5), &b"OK\n"[..]));
    drop(server.join().unwrap());
}

/// If there were descriptors for some of what Tokio opens at the start, but not for all of it.
#[test]
fn without_descriptors_for_the_event_loop_it_panicked() {
    let place = Place::new();
    for command in ["call", "serve"] {
        for most in 5..=9 {
            let steps = format!("ulimit -n {most}; exec \"$@\"");
            let mut shell = Command::new("sh");
            shell.args(["-c", &steps, "sh", UNHANG, command]).arg(&place.socket);
            let output = shell.stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            let code = output.status.code();
            assert!(matches!(code, Some(1 | 3)), "{command}, {most}: {code:?}: {said}");
            assert!(said.contains("Too many open files"), "{command}, {most}: {said}");
        }
    }
}

/// It said that it listens, and systemd was told that it is ready; and then it could not serve.
#[test]
fn a_server_that_could_not_serve_said_that_it_listens() {
    let place = Place::new();
    // Enough for the socket, not for the threads.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 13; exec \"$@\"", "sh", UNHANG, "serve"]).arg(&place.socket);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(!log.contains("listening"), "{log}");
}
