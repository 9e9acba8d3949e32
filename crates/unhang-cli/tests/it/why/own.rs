//! A server of our own says at its control socket what it waits for, and until when.

use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use super::{codes, finds, finds_where, look, suspects_where};
use crate::support::hang::{Stage, User, users};

const NEWLINE: [&str; 4] = ["--until", "newline", "--read-deadline", "10m"];

/// A busy machine may keep the server from answering in time: then it is judged by what is seen.
fn says(finding: &Value, waits_for: &str) -> bool {
    finding["server_says"]["waits_for"] == waits_for
}

/// The server's own report is told as a fact, with its source, and when it ends the wait.
fn assert_told(finding: &Value, last_word: &str) {
    let said = &finding["server_says"];
    let seconds = ["for_s", "ends_in_s"].map(|key| said[key].as_f64().unwrap());
    // The request's deadline counts from the accept, so it has become shorter.
    assert!(seconds[1] > 0.0 && seconds[0] + seconds[1] <= 601.0, "{finding:#}");
    let facts = finding["because"].as_array().unwrap();
    let told = facts.iter().find(|fact| fact["source"] == "PATH.ctl").unwrap();
    assert!(told["fact"].as_str().unwrap().contains(" says: it"), "{finding:#}");
    let now = finding["now"][0].as_str().unwrap();
    assert!(now.starts_with("wait: the server ends this by itself in "), "{finding:#}");
    assert!(now.contains(last_word), "{finding:#}");
}

#[test]
fn half_a_request_waits_for_its_newline() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.serve(&NEWLINE);
        stage.play("call-half", "ready");
        let finding =
            finds_where(&stage, "server_waits_delimiter", "certain", |one| says(one, "request"));
        assert_eq!(finding["server_says"]["request_ends"], "newline", "{finding:#}");
        assert_told(&finding, "`ERR no whole request within …: end it with a newline");
        assert!(finding["now"][1].as_str().unwrap().contains("--try newline"), "{finding:#}");

        let output = stage.why(&["-v".as_ref(), stage.place.socket.as_os_str()]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("[PATH.ctl]"), "{text}");
    }
}

#[test]
fn a_request_waits_for_its_half_close() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.serve(&["--until", "half-close", "--read-deadline", "10m"]);
        stage.play("call", "ready");
        let finding = finds(&stage, "server_waits_eof", "certain");
        assert_eq!(finding["server_says"]["request_ends"], "half-close", "{finding:#}");
        assert_told(&finding, "half-close after it");
    }
}

#[test]
fn a_client_that_sends_nothing_is_waited_for() {
    let mut stage = Stage::new(User::Me);
    stage.serve(&["--read-deadline", "10m"]);
    stage.play("call-mute", "ready");
    let finding = finds_where(&stage, "both_waiting", "certain", |one| says(one, "request"));
    assert_told(&finding, "`ERR no whole request within …: send it");
}

#[test]
fn a_handler_that_never_ends_has_the_request() {
    for (role, stage_of_it) in [("serve-own-never", "handler"), ("serve-own-blocks", "blocked")] {
        let mut stage = Stage::new(User::Me);
        stage.play(role, "listening");
        // A request that is there when its client is accepted is handled on the worker, and can block it.
        stage.player(0).signal(Signal::STOP);
        stage.play("call", "ready");
        stage.player(0).signal(Signal::CONT);
        let finding =
            finds_where(&stage, "handler_blocked", "certain", |one| says(one, stage_of_it));
        let facts = finding["because"].to_string();
        assert!(facts.contains("its handler has had the request"), "{finding:#}");
        let now = finding["now"][0].as_str().unwrap();
        assert!(now.contains("`ERR the handler took longer than …`"), "{finding:#}");
    }
}

#[test]
fn a_client_that_does_not_read_a_large_reply_is_waited_for() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-own-large", "listening");
        stage.play("call-hold", "ready");
        // In the moment in which its deadline is over, nothing is left of it to be told.
        let finding = finds_where(&stage, "client_not_reading", "certain", |one| {
            says(one, "reader") && one["server_says"]["ends_in_s"].as_f64() > Some(0.0)
        });
        assert_told(&finding, "the rest of the reply is lost");
    }
}

#[test]
fn a_client_that_has_its_answer_and_does_not_close_hangs_nobody() {
    let mut stage = Stage::new(User::Me);
    stage.serve(&["--until", "newline", "--linger", "10m"]);
    stage.play("call-more", "ready");
    let finding = suspects_where(&stage, "server_closed", "certain", |one| says(one, "close"));
    assert_eq!(finding["fault"], false, "{finding:#}");
    assert_told(&finding, "and closes");
}

#[test]
fn a_server_with_an_abstract_name_is_asked_too() {
    let mut stage = Stage::new(User::Me);
    let name = format!("unhang-why-own-{}", std::process::id());
    stage.serve_at(format!("@{name}").as_ref(), &NEWLINE);
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let mut client = UnixStream::connect_addr(&address).unwrap();
    client.write_all(b"half").unwrap();
    let mut ours = client.try_clone().unwrap();
    let waiting = thread::spawn(move || ours.read(&mut [0; 8]).is_ok());
    let asked = format!("@{name}");
    let is_told = || {
        let (_, object) = look(&stage, &[&asked]);
        codes(&object) == [("server_waits_delimiter", "certain")]
            && says(&object["findings"][0], "request")
    };
    let told = (0..20).any(|_| is_told());
    client.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(waiting.join().unwrap() && told);
}

#[test]
fn of_a_server_that_replaced_another_the_new_one_is_asked() {
    let mut stage = Stage::new(User::Me);
    stage.serve(&NEWLINE);
    stage.serve(&["--replace", "--until", "newline", "--read-deadline", "10m"]);
    assert!(stage.player_mut(0).wait().success());
    stage.play("call-half", "ready");
    let finding = finds(&stage, "server_waits_delimiter", "certain");
    let pid = finding["server"]["owners"][0]["pid"].as_u64();
    assert_eq!(pid, Some(stage.player(1).pid().into()), "{finding:#}");
    assert!(says(&finding, "request"), "{finding:#}");
}

#[test]
fn a_server_that_is_stopped_is_not_asked() {
    let mut stage = Stage::new(User::Me);
    stage.serve(&NEWLINE);
    stage.play("call-half", "ready");
    finds(&stage, "server_waits_delimiter", "certain");
    stage.player(0).freeze();
    let finding = finds(&stage, "server_stopped", "certain");
    assert_eq!(finding["server_says"], Value::Null, "{finding:#}");
    stage.player(0).signal(Signal::CONT);
    finds(&stage, "server_waits_delimiter", "certain");
}

/// Most of its threads wait to be called by another, and watch neither listener nor client.
#[test]
fn of_many_shards_that_stand_by_none_is_taken_for_the_cause() {
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.serve(&["--threads", "4", "--read-deadline", "10m"]);
        let (exit, object) = look(&stage, &[&stage.place.socket]);
        assert_eq!((exit, codes(&object)), (0, vec![("ok", "certain")]), "{object:#}");
        stage.play("call-mute", "ready");
        finds_where(&stage, "both_waiting", "certain", |one| says(one, "request"));
        std::fs::remove_file(stage.path("s.ctl")).unwrap();
        suspects_where(&stage, "both_waiting", "possible", |one| one["server_says"] == Value::Null);

        stage.player(0).freeze();
        stage.play("call", "ready");
        let (_, object) = look(&stage, &[&stage.place.socket]);
        assert_eq!(codes(&object), [("server_stopped", "certain"); 2], "{object:#}");
        let cures: Vec<_> = [0, 1].map(|nth| object["findings"][nth]["now"].to_string()).into();
        assert_eq!(cures, vec![format!("[\"kill -CONT {}\"]", stage.player(0).pid()); 2]);
        stage.player(0).thaw();
    }
}

/// The only cure that was given was to accept until EAGAIN.
#[test]
fn a_full_server_that_lets_nobody_in_was_told_that_it_missed_them() {
    let mut stage = Stage::new(User::Me);
    let full = ["--max-connections", "1", "--backlog", "1", "--queue-deadline", "10m"];
    stage.serve(&[&full[..], &["--threads", "4", "--read-deadline", "10m"]].concat());
    stage.play("call-mute", "ready");
    finds(&stage, "both_waiting", "certain");
    for _ in 0..2 {
        stage.play("call", "ready");
    }
    let (exit, object) = look(&stage, &[&stage.place.socket]);
    // The client that says nothing has the only place, and the others wait for that.
    let found = [("both_waiting", "certain"), ("backlog_full", "certain")];
    assert_eq!((exit, codes(&object)), (1, found.to_vec()), "{object:#}");
    let queue = &object["findings"][1];
    assert!(queue["fix"].to_string().contains("where it is full, allow more"), "{queue:#}");
    assert!(queue["inferred"].to_string().contains("it is full"), "{queue:#}");
}

/// Its queue has room for one: the first to ask waits in vain for an answer, the others for a place.
#[test]
fn a_server_that_does_not_answer_is_judged_by_what_is_seen() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-read-and-ignore", "listening");
    stage.play("call-mute", "ready");
    for _ in 0..3 {
        let finding = suspects_where(&stage, "both_waiting", "possible", |_| true);
        assert_eq!(finding["server_says"], Value::Null, "{finding:#}");
    }
}

#[test]
fn a_strangers_control_socket_is_not_asked() {
    let mut stage = Stage::new(User::Me);
    let stranger = UnixListener::bind(stage.path("s.ctl")).unwrap();
    stage.play("serve-read", "listening");
    stage.play("call-mute", "ready");
    let finding = suspects_where(&stage, "both_waiting", "possible", |_| true);
    assert_eq!(finding["server_says"], Value::Null, "{finding:#}");
    stranger.set_nonblocking(true).unwrap();
    assert_eq!(stranger.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Regression: of a front only "it waits for something itself" was said, and not of the server behind.
#[test]
fn behind_a_front_the_server_that_it_waits_for_was_not_named() {
    for user in users() {
        let mut stage = Stage::new(*user);
        let behind = stage.path("behind");
        stage.play_at("serve-sleep", &[&behind], "listening");
        stage.serve(&["--to", behind.to_str().unwrap(), "--handler-deadline", "10m"]);
        stage.play("call", "ready");
        let finding = finds(&stage, "handler_waits_backend", "certain");
        assert!(finding["headline"].as_str().unwrap().contains("behind"), "{finding:#}");
        let sleeper = format!("[{}] sleeps", stage.player(0).pid());
        assert!(finding["because"].to_string().contains(&sleeper), "{finding:#}");
    }
}
