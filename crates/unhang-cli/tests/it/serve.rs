//! `unhang serve`: what it prints, and that no request ends it.

mod file;
mod usage;

use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::{Place, UNHANG};

#[test]
fn every_message_is_answered_with_the_time() {
    let place = Place::new();
    let _server = Daemon::serve(&place.socket, &[]);
    let reply = String::from_utf8(Peer::ask(&place.socket, b"hello")).unwrap();
    let time = reply.strip_prefix("OK+ at ").unwrap().strip_suffix('\n').unwrap();
    // 2026-01-31T12:00:00.123456789+00:00
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert!(
        ["0000-00-00T00:00:00.000000000+00:00", "0000-00-00T00:00:00.000000000-00:00"]
            .contains(&&*shape),
        "{reply}"
    );
    time.parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn each_exchange_is_a_line_with_its_client_how_much_and_how_it_ended() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &[]);
    let reply = Peer::ask(&place.socket, b"hello");
    let line = server.await_line("answered");
    let uid = rustix::process::getuid().as_raw();
    for part in [
        format!("pid {}", std::process::id()),
        format!("uid {uid}"),
        "5B".into(),
        format!("{}B", reply.len()),
    ] {
        assert!(line.contains(&part), "{part:?} is not in {line:?}");
    }
    assert!(!line.contains('\x1b'), "no colour where nobody sees it: {line:?}");
}

#[test]
fn for_machines_every_line_is_an_object() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--log", "json", "--max-request", "10B"]);
    Peer::ask(&place.socket, b"hello");
    let answered: Value = serde_json::from_str(&server.await_line("exchange")).unwrap();
    assert_eq!(answered["ended"], "answered");
    assert_eq!(
        (answered["bytes_in"].as_u64(), answered["bytes_out"].as_u64()),
        (Some(5), Some(43))
    );
    assert_eq!(answered["pid"].as_u64(), Some(std::process::id().into()));
    assert_eq!(answered["why"], Value::Null);
    Peer::ask(&place.socket, b"hello, world");
    let refused: Value = serde_json::from_str(&server.await_line("exchange")).unwrap();
    assert_eq!(refused["ended"], "refused");
    assert_eq!(refused["why"], "the request is longer than 10 bytes");
    let (_, lines) = server.stop();
    let events: Vec<_> = lines
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["event"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(events, ["draining", "stopped"]);
}

/// Clients that do not say what they want, one after the other.
fn two_are_late(server: &Daemon, place: &Place, word: &str) -> [String; 2] {
    [(); 2].map(|()| {
        assert!(Peer::ask(&place.socket, b"hel").starts_with(b"ERR no whole request"));
        server.await_line(word)
    })
}

const LATE: [&str; 4] = ["--until", "newline", "--read-deadline", "50ms"];

#[test]
fn where_somebody_waited_in_vain_it_names_the_command_that_tells_more_but_only_once() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &LATE);
    let command = format!("unhang why {}", place.socket.display());
    two_are_late(&server, &place, "refused");
    let (_, rest) = server.stop();
    assert!(!rest.iter().any(|line| line.contains("unhang why")), "{rest:#?}");

    let server = Daemon::serve(&place.socket, &LATE);
    assert!(Peer::ask(&place.socket, b"hello\n").starts_with(b"OK"));
    Peer::ask(&place.socket, b"hel");
    let line = server.await_line("unhang why");
    assert!(line.ends_with(&command), "{line}");
}

#[test]
fn for_machines_the_command_stands_with_every_such_exchange() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &[&LATE[..], &["--log", "json"]].concat());
    let command = format!("unhang why {}", place.socket.display());
    for line in two_are_late(&server, &place, "request_late") {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["diagnose"], *command, "{line}");
    }
    Peer::ask(&place.socket, b"hello\n");
    let line: Value = serde_json::from_str(&server.await_line("answered")).unwrap();
    assert_eq!(line["diagnose"], Value::Null, "{line}");
}

#[test]
fn quiet_it_prints_only_start_stop_and_faults() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    Peer::ask(&place.socket, b"hello");
    let (status, lines) = server.stop();
    assert!(status.success());
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].contains("stopping") && lines[1].contains("stopped; 1 answered"),
        "{lines:#?}"
    );
}

#[test]
fn no_request_however_bad_ends_it() {
    let place = Place::new();
    let arguments = ["--max-request", "64KiB", "--read-deadline", "200ms", "--linger", "200ms"];
    let server = Daemon::serve(&place.socket, &arguments);
    // Garbage, too much, nothing, half a message and away, and a probe.
    Peer::ask(&place.socket, &[0xff; 1000]);
    let _ = Peer::connect(&place.socket).try_write(&vec![0; 4 << 20]);
    let told = Peer::connect(&place.socket).read_to_end();
    assert!(told.starts_with(b"ERR no whole request within 200ms"));
    Peer::connect(&place.socket).write(b"hello");
    drop(Peer::connect(&place.socket));
    assert!(Peer::ask(&place.socket, b"hello").starts_with(b"OK+ at "));
    assert!(server.stop().0.success());
}

#[test]
fn every_signal_that_asks_for_it_stops_it_and_it_exits_0() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let place = Place::new();
        let mut server = Daemon::serve(&place.socket, &[]);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        assert!(!place.socket.exists());
    }
}

#[test]
fn a_stop_waits_for_exchanges_under_way_and_answers_them() {
    let place = Place::new();
    let mut server = Daemon::serve(&place.socket, &["--until", "newline"]);
    let mut peer = Peer::connect(&place.socket);
    peer.write(b"hel");
    server.signal(Signal::TERM);
    server.await_line("stopping");
    peer.write(b"lo\n");
    assert!(peer.read_to_end().starts_with(b"OK+ at "));
    assert_eq!(server.wait().code(), Some(0));
}

/// A terminal that is closed may send it twice: the shell to its jobs, and the kernel.
#[test]
fn a_second_hang_up_does_not_end_it_before_clients_are_answered() {
    let place = Place::new();
    let mut server = Daemon::serve(&place.socket, &["--until", "newline"]);
    let mut peer = Peer::connect(&place.socket);
    peer.write(b"hel");
    // Accepted, as the next is answered.
    Peer::ask(&place.socket, b"hello\n");
    server.signal(Signal::HUP);
    server.await_line("stopping");
    server.signal(Signal::HUP);
    peer.write(b"lo\n");
    assert!(peer.read_to_end().starts_with(b"OK+ at "));
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn started_by_nohup_it_survives_a_hang_up() {
    let place = Place::new();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", UNHANG, "serve"]).arg(&place.socket);
    let server = Daemon::start(&mut command, "listening");
    server.signal(Signal::HUP);
    assert!(Peer::ask(&place.socket, b"hello").starts_with(b"OK+ at "));
    let (status, log) = server.stop();
    assert!(status.success());
    assert!(log.iter().any(|line| line.contains("1 answered")), "{log:#?}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let place = Place::new();
    let mut server =
        Daemon::serve(&place.socket, &["--drain-deadline", "1h", "--read-deadline", "1h"]);
    let _silent = Peer::connect(&place.socket);
    // Accepted before the next, and the next is answered.
    Peer::ask(&place.socket, b"hello");
    server.signal(Signal::TERM);
    server.await_line("stopping");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(1));
    assert!(!place.socket.exists(), "it was removed at the first");
}

#[test]
fn a_server_that_is_killed_in_mid_request_leaves_nobody_hanging_or_reset() {
    for _ in 0..20 {
        let place = Place::new();
        let server = Daemon::serve(&place.socket, &["--until", "newline", "--threads", "1"]);
        // So that it is all there when the connection is accepted, and is read at once.
        server.freeze();
        let mut peer = Peer::connect(&place.socket);
        peer.write(b"hel");
        server.thaw();
        // Read, as the next is accepted by the same thread.
        Peer::ask(&place.socket, b"hello\n");
        server.signal(Signal::KILL);
        assert_eq!(peer.read_to_end(), b"");
    }
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let place = Place::new();
    let mut child = Command::new(UNHANG)
        .arg("serve")
        .arg(&place.socket)
        .args(["--log", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    crate::support::await_some("it listens", || {
        std::os::unix::net::UnixStream::connect(&place.socket).ok()
    });
    // Many times what the pipe (64 KiB) and the lines that may wait can hold.
    for _ in 0..8000 {
        assert!(Peer::ask(&place.socket, b"hello").starts_with(b"OK+ at "));
    }
    // Read at last: what is missing is said.
    let output = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::read_to_string(output).unwrap());
    Peer::ask(&place.socket, b"hello");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let log = reader.join().unwrap();
    assert!(log.contains("dropped_lines"), "{} bytes of log", log.len());
}
