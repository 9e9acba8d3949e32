//! `unhang call`: what it prints and how it exits.

mod descriptors;
mod server;
mod stdio;
mod words;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::daemon::Daemon;
use crate::support::hang::copy_program;
use crate::support::{Place, UNHANG};

fn call(path: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(UNHANG)
        .arg("call")
        .arg(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It need not read it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A server that echoes the request, up to its end, for one connection.
fn echo_once(path: &Path) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        stream.read_to_end(&mut request).unwrap();
        stream.write_all(&request).unwrap();
    })
}

/// Calls a server that writes `reply` and then keeps the connection open until the call has ended.
fn call_forgetful(name: &str, reply: &'static [u8], arguments: &[&str]) -> Output {
    let place = Place::new();
    let path = place.directory.path().join(name);
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(reply).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        // The half-close is read; now until the client is gone.
        while stream.write_all(b"").is_ok() && peer_lives(&stream) {}
    });
    let output = call(&path, arguments, b"");
    server.join().unwrap();
    output
}

/// Whether the other end is open: a hang-up is reported without being asked for.
fn peer_lives(stream: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(stream, PollFlags::empty())];
    let wait = Timespec { tv_sec: 30, tv_nsec: 0 };
    poll(&mut asked, Some(&wait)).unwrap() == 0
}

#[test]
fn the_reply_is_printed_as_it_came() {
    let message = b"\x00\xff no newline \x1b[31m";
    for (arguments, input) in [(&["-"][..], &message[..]), (&[], message)] {
        let place = Place::new();
        let server = echo_once(&place.socket);
        let output = call(&place.socket, arguments, input);
        server.join().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &message[..]));
        assert_eq!(said(&output), "");
    }
    let place = Place::new();
    let server = echo_once(&place.socket);
    let output = call(&place.socket, &["hello"], b"not this");
    server.join().unwrap();
    assert_eq!(output.stdout, b"hello");
}

#[test]
fn answered_and_not_closed_gives_the_reply_and_the_cure() {
    let output = call_forgetful("s", b"OK\n", &["hello", "--deadline", "300ms"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(5), &b"OK\n"[..]));
    let said = said(&output);
    assert!(said.contains("did not close") && said.contains("must close"), "{said}");
}

#[test]
fn a_reply_that_ends_at_a_newline_needs_no_close() {
    let output = call_forgetful("s", b"OK\nmore", &["hello", "--reply-ends", "newline"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"OK\n"[..]));
}

#[test]
fn no_answer_in_time_is_4() {
    let output = call_forgetful("s", b"", &["hello", "--deadline", "300ms"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("no answer within"));
    assert!(said(&output).contains("unhang why /"), "{}", said(&output));
    let output = call_forgetful(
        "s",
        b"half a line",
        &["hello", "--deadline", "300ms", "--reply-ends", "newline"],
    );
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(4), &b"half a line"[..]));
}

#[test]
fn a_caller_that_cannot_connect_is_told_why() {
    let place = Place::new();
    let directory = place.directory.path();
    drop(UnixListener::bind(directory.join("stale")).unwrap());
    std::fs::write(directory.join("file"), "").unwrap();
    let _datagram = UnixDatagram::bind(directory.join("datagram")).unwrap();
    let full = unhang::Bind::new(directory.join("full")).backlog(1).listen().unwrap();
    let _queue = [(); 2].map(|()| UnixStream::connect(directory.join("full")).unwrap());

    for (name, why) in [
        ("missing", "no such file"),
        ("stale", "nobody listens"),
        ("file", "not a socket"),
        (".", "not a socket"),
        ("datagram", "not a stream socket"),
        ("full", "queue stayed full"),
    ] {
        let output = call(&directory.join(name), &["hello", "--deadline", "300ms"], b"");
        assert_eq!(output.status.code(), Some(3), "{name}: {}", said(&output));
        assert!(said(&output).contains(why), "{name}: {}", said(&output));
    }
    drop(full);
}

#[test]
fn permission_is_told_from_a_server_that_is_gone() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can call as another user");
        return;
    }
    let place = Place::new();
    let _server = Daemon::serve(&place.socket, &["--mode", "0600"]);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.directory.path(), open).unwrap();
    // The command itself may lie where that user may not look. Copied by another process: a file
    // that is open for writing, here or in a child that was just forked, cannot be executed.
    let copy = place.directory.path().join("unhang");
    copy_program(UNHANG.as_ref(), &copy);
    let output = std::os::unix::process::CommandExt::uid(&mut Command::new(copy), 65_534)
        .arg("call")
        .arg(&place.socket)
        .arg("hello")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("permission denied"), "{}", said(&output));
}

#[test]
fn arguments_that_make_no_sense_are_2() {
    let long = "x".repeat(108);
    for (path, arguments, why) in [
        (&*long, &["hello"][..], "108 bytes"),
        ("", &["hello"], "a value is required"),
        ("@", &["hello"], "got nothing"),
        ("s", &["hello", "--deadline", "5"], "expected a duration with its unit"),
        ("s", &["hello", "--max-reply", "huge"], "expected a number of bytes"),
        ("s", &["hello", "--reply-ends", "never"], "expected close, newline"),
        ("s", &["hello", "--wire", "http", "--delimiter", "nul"], "goes with --wire lines"),
        ("s", &["hello", "--wire", "lines", "--reply-ends", "json"], "goes with --wire oneshot"),
        ("s", &["hello", "--wire", "lines", "--no-half-close"], "goes with --wire oneshot"),
        ("s", &["a\nb", "--wire", "lines"], "expected a message of one line"),
        ("s", &["hello", "again"], "unexpected argument"),
        ("s", &["hello", "--deadline", "-5s"], "expected a duration with its unit"),
        ("s", &["hello", "--max-reply", "-1"], "expected a number of bytes"),
    ] {
        let output = call(Path::new(path), arguments, b"");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(why), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn the_servers_own_error_line_is_an_answer() {
    let place = Place::new();
    let _server = Daemon::serve(&place.socket, &["--max-request", "4B", "--quiet"]);
    let output = call(&place.socket, &["hello"], b"");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(output.stdout, b"ERR the request is longer than 4 bytes\n");
}

#[test]
fn what_came_before_the_connection_was_lost_is_printed() {
    let place = Place::new();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        stream.write_all(b"par").unwrap();
        // Closed with input unread: a reset.
    });
    let output = call(&place.socket, &["hello"], b"");
    server.join().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"par"[..]));
    assert!(said(&output).contains("may have run"), "{}", said(&output));

    let listener = UnixListener::bind(place.directory.path().join("mute")).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        let _ = stream.shutdown(Shutdown::Both);
    });
    let output = call(&place.directory.path().join("mute"), &["hello"], b"");
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("without a reply"), "{}", said(&output));
}
