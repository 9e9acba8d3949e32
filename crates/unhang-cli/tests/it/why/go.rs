//! Servers and clients in Go, whose goroutines tell what nothing else can: which of them reads, and what for.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;

use super::python::play;
use super::{codes, finds, look, suspects_where};
use crate::interop::go::build;
use crate::support::hang::{Stage, User, shared, users};
use crate::support::programs::{find_for_all, missing};
use crate::support::root;

/// `server.go`, built. None if there is no Go.
pub(super) fn program() -> Option<&'static PathBuf> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let source = root().join("crates/unhang-cli/tests/it/why/server.go");
    (!missing("go", "golang-go")).then(|| PROGRAM.get_or_init(|| shared(&build(&source, "hangs"))))
}

/// A server in Go, a client, what is to be found of them, and a fact that shows it.
fn class(server: &str, client: &str, code: &str, certainty: &str, fact: &str) {
    let Some(program) = program() else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        let socket = stage.place.socket.clone();
        stage.run(program, &[server.as_ref(), socket.as_os_str()]);
        stage.play(client, "ready");
        let finding = suspects_where(&stage, code, certainty, |_| true);
        assert!(finding["because"].to_string().contains(fact), "{finding:#}");
        assert_eq!(finding["fault"], certainty != "possible", "{finding:#}");
        let owner = &finding["server"]["owners"][0]["pid"];
        assert_eq!(owner.as_u64(), Some(stage.player(0).pid().into()), "{finding:#}");
    }
}

#[test]
fn it_answered_and_did_not_close() {
    class("forget", "call", "answered_not_closed", "certain", "no goroutine reads this connection");
}

#[test]
fn it_reads_to_the_end() {
    class("to-end", "call", "server_waits_eof", "certain", "io.ReadAll");
}

/// Regression: it was said to read until the end, with certainty, and to half-close was advised: it then took the
/// part of a request for the whole.
#[test]
fn it_reads_so_many_bytes() {
    class("to-length", "call", "both_waiting", "possible", "io.(*LimitedReader)");
    let (Some(program), Some(python)) = (program(), find_for_all("python3", "python3")) else {
        return;
    };
    for user in users() {
        let mut stage = Stage::new(*user);
        let socket = stage.place.socket.clone();
        stage.run(program, &["body".as_ref(), socket.as_os_str()]);
        play(&mut stage, &python, "call-short");
        let finding = finds(&stage, "both_waiting", "likely");
        let headline = finding["headline"].to_string();
        assert!(headline.contains("shorter than it says"), "{finding:#}");
        assert_eq!(finding["now"].as_array().map(Vec::len), Some(0), "{finding:#}");
    }
}

#[test]
fn it_reads_to_a_newline() {
    // Every message ends with one, so this client sends nothing.
    class("to-line", "call-mute", "server_waits_delimiter", "likely", "bufio.(*Reader).ReadString");
}

#[test]
fn it_reads_on_and_does_not_say_until_when() {
    class("again", "call", "both_waiting", "possible", "main.handle");
}

#[test]
fn a_goroutine_that_waits_for_a_lock_may_be_the_one() {
    let fact = "no goroutine reads this connection";
    class("lock", "call", "handler_blocked", "possible", fact);
}

/// And that alone is no fault: their client, an event loop, may keep them for later.
#[test]
fn a_thousand_forgotten_connections_are_all_told() {
    let (Some(program), Some(python)) = (program(), find_for_all("python3", "python3")) else {
        return;
    };
    let mut stage = Stage::new(User::Me);
    let socket = stage.place.socket.clone();
    stage.run(program, &["forget".as_ref(), socket.as_os_str()]);
    play(&mut stage, &python, "call-crowd");
    stage.player(1).await_line("all of them");
    let found = |object: &Value| {
        let all = codes(object);
        all.len() == 1000 && all.iter().all(|one| *one == ("answered_not_closed", "certain"))
    };
    let mut last = (0, Value::Null);
    assert!(
        (0..10).any(|_| {
            last = look(&stage, &[&socket]);
            found(&last.1) && last.0 == 0
        }),
        "{} findings",
        last.1["findings"].as_array().unwrap().len()
    );
}

#[test]
fn a_client_in_go_is_seen_to_wait() {
    let Some(program) = program() else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        let socket = stage.place.socket.clone();
        stage.run(program, &["forget".as_ref(), socket.as_os_str()]);
        stage.run(program, &["call".as_ref(), socket.as_os_str()]);
        finds(&stage, "answered_not_closed", "certain");
    }
}
