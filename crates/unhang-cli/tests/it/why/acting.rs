//! `--try` and `--probe`: the only two that do anything, and only to what they name.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{finds, suspects_where};
use crate::support::daemon::Daemon;
use crate::support::hang::{Stage, User, users};
use crate::support::programs::missing;
use crate::support::{PATIENCE, UNHANG, passing};

pub(super) fn attempt(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String) {
    let output = stage.why(&[&["--for", "100ms", "--try"], arguments].concat());
    (output.status.code(), said(&output))
}

/// `PID:FD:COOKIE` of an end.
pub(super) fn end(end: &Value) -> String {
    let owner = &end["owners"][0];
    format!("{}:{}:{}", owner["pid"], owner["fd"], end["cookie"])
}

fn said(output: &Output) -> String {
    [&*String::from_utf8_lossy(&output.stdout), &*String::from_utf8_lossy(&output.stderr)].concat()
}

#[test]
fn release_ends_the_reply_and_the_server_serves_on() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-forget", "listening");
        stage.play("call", "ready");
        let finding = finds(&stage, "forgotten", "likely");
        let connection = &end(&finding["server"]);

        let (code, text) = attempt(&stage, &["release", connection]);
        assert_eq!(code, Some(2), "not confirmed: {text}");
        assert!(text.contains("--yes"), "{text}");
        finds(&stage, "forgotten", "likely");

        let (code, text) = attempt(&stage, &["release", connection, "--yes"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(stage.player_mut(1).wait().success(), "the client has got its reply and its end");
        stage.play("call", "ready");
    }
}

/// The process or descriptor may be another's by the time that the line is run: it ended a healthy
/// conversation.
#[test]
fn only_the_connection_that_was_looked_at_is_acted_on() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-forget", "listening");
    stage.play("call", "ready");
    let finding = finds(&stage, "forgotten", "likely");
    let connection = end(&finding["server"]);
    let (place, cookie) = connection.rsplit_once(':').unwrap();
    let other = format!("{place}:{}", cookie.parse::<u64>().unwrap() + 1);
    let (code, text) = attempt(&stage, &["release", &other, "--yes"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("another connection by now"), "{text}");
    let (code, text) = attempt(&stage, &["release", place, "--yes"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(&connection), "{text}");
    // It still waits.
    finds(&stage, "forgotten", "likely");
}

/// Of a server that forgets all its clients, each had to be released by a line of its own.
#[test]
fn all_connections_of_one_verdict_are_released_by_one_line() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-forget", "listening");
    for _ in 0..3 {
        stage.play("call", "ready");
    }
    let (_, object) = super::look(&stage, &[&stage.place.socket]);
    let ends: Vec<_> =
        object["findings"].as_array().unwrap().iter().map(|one| end(&one["server"])).collect();
    let ends: Vec<_> = ends.iter().map(String::as_str).collect();
    assert_eq!(ends.len(), 3, "{object:#}");
    let (code, text) = attempt(&stage, &[&["release"], &ends[..], &["--yes"]].concat());
    assert_eq!((code, text.matches("DONE").count()), (Some(0), 3), "{text}");
    for nth in 1..4 {
        assert!(stage.player_mut(nth).wait().success(), "{nth}");
    }
    // The cookies are of no other connections.
    let (code, text) = attempt(&stage, &[&["release"], &ends[..], &["--yes"]].concat());
    assert_eq!((code, text.matches("DONE").count()), (Some(1), 0), "{text}");
}

/// A server that speaks to a client as `answer` has it, once the client waits for it.
fn speak(stage: &Stage, answer: impl Fn(UnixStream) + Send + 'static) {
    let listener = UnixListener::bind(&stage.place.socket).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            answer(client.unwrap());
        }
    });
}

#[test]
fn half_close_ends_the_request_of_a_server_that_waits_for_that() {
    let mut stage = Stage::new(User::Me);
    // It answers well after the end, and closes after its client.
    speak(&stage, |mut client| {
        let _ = client.read_to_end(&mut Vec::new());
        std::thread::sleep(Duration::from_millis(200));
        let _ = client.write_all(b"reply\n");
        std::thread::sleep(PATIENCE);
    });
    // It takes one byte of the reply, and leaves the rest to be seen.
    stage.play("call-mute-byte", "ready");
    let finding = suspects_where(&stage, "both_waiting", "possible", |_| true);
    let connection = &end(&finding["clients"][0]);
    let (code, text) = attempt(&stage, &["newline", connection, "--yes"]);
    assert_eq!(code, Some(1), "it reads to the end, so a newline does not help: {text}");
    assert!(text.starts_with("FAILED  send a newline"), "{text}");
    let (code, text) = attempt(&stage, &["half-close", connection, "--yes"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the server has answered"), "{text}");
}

/// Regression: a client that Redis threw out at the half-close counted as helped.
#[test]
fn a_server_that_closed_without_an_answer_was_called_done() {
    let mut stage = Stage::new(User::Me);
    // It reads to the end, and closes.
    stage.play("serve-read", "listening");
    stage.play("call-mute", "ready");
    let finding = suspects_where(&stage, "both_waiting", "possible", |_| true);
    let connection = &end(&finding["clients"][0]);
    let (code, text) = attempt(&stage, &["half-close", connection, "--yes"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("FAILED  end the request"), "{text}");
    assert!(
        text.contains("the server has closed the connection, and no answer was seen"),
        "{text}"
    );
}

/// It was EPIPE, and no word of what that means.
#[test]
fn to_a_request_that_has_ended_nothing_can_be_added() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-sleep", "listening");
    let mut client = UnixStream::connect(&stage.place.socket).unwrap();
    client.write_all(b"request\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // The server has it.
    stage.player(0).await_line("ready");
    let connection = format!("{}:{}", std::process::id(), client.as_raw_fd());
    for action in ["newline", "half-close"] {
        let (code, text) = attempt(&stage, &[action, &connection, "--yes"]);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("the client has ended its request already"), "{text}");
        let instead = format!("unhang why --try release {}:", stage.player(0).pid());
        assert!(text.contains(&instead), "{text}");
    }
}

#[test]
fn a_client_of_another_netns_is_released_like_any_other() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can make a network namespace");
        return;
    }
    let mut stage = Stage::new(User::Me);
    stage.play("serve-forget", "listening");
    stage.play_elsewhere("call", "ready");
    let finding = finds(&stage, "forgotten", "likely");
    let connection = &end(&finding["server"]);
    let (code, text) = attempt(&stage, &["release", connection, "--yes"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(stage.player_mut(1).wait().success());
}

#[test]
fn what_is_not_one_connection_is_left_alone() {
    let stage = Stage::new(User::Me);
    for (target, code) in [("1", 2), ("/run/s", 2), ("1:99999", 1)] {
        let (exit, text) = attempt(&stage, &["release", target, "--yes"]);
        assert_eq!(exit, Some(code), "{target}: {text}");
    }
}

/// As `connect()` itself would.
#[test]
fn a_probe_does_not_hang_where_the_accept_queue_is_full() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-queue-of-1", "ready");
    stage.play("call", "ready");
    stage.play("call", "ready");
    let (code, text) = probe(&stage, &stage.place.socket);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("its accept queue is full"), "{text}");
}

fn probe(stage: &Stage, path: &Path) -> (Option<i32>, String) {
    let output = stage.why(&["--probe".as_ref(), "hello".as_ref(), path.as_os_str()]);
    (output.status.code(), said(&output))
}

#[test]
fn a_probe_tells_how_a_server_ends_its_replies() {
    let mut stage = Stage::new(User::Me);
    let path = stage.path("forgets");
    stage.play_at("serve-forget", &[&path], "listening");
    let (code, text) = probe(&stage, &path);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("it answers, and keeps the connection open"), "{text}");

    let _server = Daemon::serve(&stage.place.socket, &[]);
    let (code, text) = probe(&stage, &stage.place.socket);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("PROBE it answers, and closes\n"), "{text}");

    let path = stage.path("lines");
    let _server = Daemon::serve(&path, &["--until", "newline"]);
    assert!(probe(&stage, &path).1.contains("it needs a newline"));
    let path = stage.path("end");
    let _server = Daemon::serve(&path, &["--until", "half-close"]);
    assert!(probe(&stage, &path).1.contains("it needs the end of the request"));
    assert!(probe(&stage, &stage.path("missing")).1.contains("cannot be asked"));
}

/// The client line that a probe ends with.
fn client_line(stage: &Stage, path: &Path) -> Option<String> {
    let (_, text) = probe(stage, path);
    let line = text.lines().last().unwrap().to_owned();
    line.starts_with("USE   new Client('/").then_some(line)
}

/// How the server ends its replies was told, and not what that means for a client.
#[test]
fn a_probe_ends_with_the_client_to_use() {
    let stage = Stage::new(User::Me);
    let ends = |path: &Path, php: &str, shell: &str| {
        let line = client_line(&stage, path).unwrap();
        assert!(line.contains(&format!("{php})   or   unhang call ")), "{line}");
        assert!(line.ends_with(&format!("{}{shell}", path.display())), "{line}");
    };
    let _server = Daemon::serve(&stage.place.socket, &[]);
    ends(&stage.place.socket, "/s'", "");

    let keeps = stage.path("keeps");
    keep(&keeps, b"reply\n");
    ends(&keeps, "/keeps', replyEnds: ReplyEnds::newline()", " --reply-ends newline");
    // And that is what helps.
    let mut call = Command::new(UNHANG);
    call.arg("call").arg(&keeps).args(["hello", "--reply-ends", "newline"]);
    assert!(call.output().unwrap().status.success());

    // Nobody sees where this reply ends.
    let endless = stage.path("endless");
    keep(&endless, b"reply");
    assert_eq!(client_line(&stage, &endless), None);
}

/// A server that answers each client, and closes no connection.
fn keep(path: &Path, reply: &'static [u8]) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = client.read(&mut [0; 64]);
            let _ = client.write_all(reply);
            kept.push(client);
        }
    });
}

/// It held the probe, as the kernel closes what was passed on the thread that reads.
#[test]
fn a_server_that_passes_a_connection_that_lingers_does_not_hold_up_a_probe() {
    let stage = Stage::new(User::Me);
    passing::serve(&stage.place.socket, b"OK\n");
    let began = Instant::now();
    let (code, text) = probe(&stage, &stage.place.socket);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("PROBE it answers, and closes\n"), "{text}");

    if missing("strace", "strace") {
        return;
    }
    // The first of three is on a kernel before Linux 6.16; the other calls set deadlines.
    let mut command = passing::without_passrights("1");
    let output = command.args(["why", "--probe", "hello"]).arg(&stage.place.socket).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(text.contains("passes a file descriptor along with its reply"), "{text}");
    assert!(began.elapsed() < passing::LINGER);
}

/// The error of `connect()` was all that was said.
#[test]
fn of_a_socket_that_cannot_be_asked_only_an_error_number_was_told() {
    let stage = Stage::new(User::Me);
    std::fs::write(stage.path("file"), "").unwrap();
    drop(UnixListener::bind(stage.path("stale")).unwrap());
    let _datagram = UnixDatagram::bind(stage.path("datagram")).unwrap();
    for (name, label, words, cure) in [
        ("missing", "DEAD", "there is no file ", "start the server"),
        ("file", "DEAD", "is a regular file, not a socket", "find out who made it"),
        ("stale", "DEAD", "nobody has it open", "start the server"),
        ("datagram", "NOTE", "is a datagram socket", "SOCK_STREAM or SOCK_DGRAM"),
    ] {
        let (code, text) = probe(&stage, &stage.path(name));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.starts_with("PROBE it cannot be asked\n"), "{text}");
        assert!(text.contains(&format!("\n{label}  ")) && text.contains(words), "{text}");
        assert!(text.contains("\nFIX   ") && text.contains(cure), "{text}");
    }
}

/// Whether it has gone before all was sent, and so resets nothing, is chance: hence many times.
#[test]
fn a_probe_hears_a_server_that_answers_without_having_read() {
    let stage = Stage::new(User::Me);
    let listener = UnixListener::bind(&stage.place.socket).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            client.unwrap().write_all(b"OK\n").unwrap();
        }
    });
    for _ in 0..50 {
        let (code, text) = probe(&stage, &stage.place.socket);
        let is_reset = text.starts_with("PROBE it answers, and resets the connection");
        assert_eq!(code, Some(i32::from(is_reset)), "{text}");
        assert_eq!(text.matches("3 bytes, the first after").count(), 3, "{text}");
    }
}

/// Exit code 0 said that it answers and closes; and a reset was "it answers, and closes".
#[test]
fn a_server_that_closes_without_an_answer_was_taken_for_one_that_serves() {
    let stage = Stage::new(User::Me);
    let path = stage.path("closes");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            client.unwrap().read_exact(&mut [0; 5]).unwrap();
        }
    });
    let (code, text) = probe(&stage, &path);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("PROBE it closes without an answer\n"), "{text}");

    let path = stage.path("resets");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            // All but the last byte.
            client.read_exact(&mut [0; 4]).unwrap();
            client.write_all(b"OK\n").unwrap();
        }
    });
    let (code, text) = probe(&stage, &path);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("PROBE it answers, and resets the connection: "), "{text}");
    assert!(text.contains("; reset after 3 bytes and "), "{text}");
}
