//! The classes that `classes.rs` has in Rust, in Python: what is found rests on the kernel alone, and
//! the line on which it hangs on the interpreter's memory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal};

use super::acting::{attempt, end};
use super::restraint::may_have;
use super::{codes, finds, look, suspects_where};
use crate::support::daemon::Daemon;
use crate::support::hang::{Stage, User, users};
use crate::support::programs::find_for_all;
use crate::support::{UNHANG, await_some, root};

/// A server, a client, and what is to be found of them.
#[track_caller]
fn class(server: &str, client: &str, code: &str, certainty: &str) {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        for role in [server, client] {
            play(&mut stage, &python, role);
        }
        let finding = suspects_where(&stage, code, certainty, |_| true);
        let nobody_waits = ["both_waiting", "server_closed"].contains(&code);
        assert_eq!(finding["fault"], !nobody_waits, "{finding:#}");
        let client = finding["clients"][0]["owners"][0]["pid"].as_u64();
        if !finding["clients"].as_array().unwrap().is_empty() {
            assert_eq!(client, Some(stage.player(1).pid().into()), "{finding:#}");
        }
    }
}

pub(super) fn play(stage: &mut Stage, python: &Path, role: &str) {
    let [script, socket] = [copied(stage), stage.place.socket.clone()];
    let arguments = ["-u".as_ref(), script.as_os_str(), role.as_ref(), socket.as_os_str()];
    stage.run(python, &arguments);
}

/// The script, where every user may read it.
fn copied(stage: &Stage) -> PathBuf {
    let script = stage.path("hang.py");
    std::fs::copy(root().join("crates/unhang-cli/tests/it/why/hang.py"), &script).unwrap();
    script
}

#[test]
fn bytes_that_lie_unread() {
    class("serve-unread", "call", "request_unread", "certain");
    class("serve-oneshot", "call-twice", "oneshot_not_rearmed", "certain");
    class("serve-paused", "call-twice", "reading_paused", "certain");
    class("serve-edge", "call-twice", "edge_missed", "likely");
    class("serve-reply", "call-hold", "reply_unread", "certain");
    class("serve-flood", "call-hold", "client_not_reading", "certain");
    class("serve-flood", "call-flood", "write_deadlock", "certain");
}

#[test]
fn a_server_that_does_something_else() {
    class("serve-mute", "call", "not_accepted", "certain");
    class("serve-sleep", "call", "handler_blocked", "certain");
    class("serve-compute", "call", "handler_cpu", "certain");
    class("serve-forget", "call", "forgotten", "likely");
    class("serve-read", "call-mute", "both_waiting", "possible");
}

/// It was told to bound the work of one request.
#[test]
fn a_loop_that_never_takes_epollout_away_is_told_to() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let mut stage = Stage::new(User::Me);
    play(&mut stage, &python, "serve-spin");
    play(&mut stage, &python, "call");
    let finding = finds(&stage, "handler_cpu", "certain");
    assert!(finding["fix"].to_string().contains("take EPOLLOUT away"), "{finding:#}");
    assert!(finding["headline"].to_string().contains("room to write"), "{finding:#}");
}

/// The server was told to accept in a loop, and the two clients were not named.
#[test]
fn workers_that_silent_clients_keep_are_followed_to_those() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        play(&mut stage, &python, "serve-pool");
        for _ in 0..2 {
            play(&mut stage, &python, "call-mute");
            stage.player(0).await_line("held");
        }
        play(&mut stage, &python, "call");
        let found = await_some("the queue is explained", || {
            let (_, object) = super::look(&stage, &[&stage.place.socket]);
            let all = object["findings"].as_array()?.iter();
            let queue = all.clone().find(|one| one["code"] == "not_accepted")?;
            queue["because"].to_string().contains("is silent").then(|| queue.clone())
        });
        for nth in [1, 2] {
            let client = format!("[{}] is silent", stage.player(nth).pid());
            assert!(found["because"].to_string().contains(&client), "{client}: {found:#}");
        }
        assert!(found["fix"].to_string().contains("a deadline for reading"), "{found:#}");
        assert_eq!(found["fault"], true, "{found:#}");
    }
}

#[test]
fn the_line_of_each_end_is_named() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        play(&mut stage, &python, "serve-sleep");
        play(&mut stage, &python, "call");
        let finding = finds(&stage, "handler_blocked", "certain");
        let script = stage.path("hang.py");
        for (end, function) in [(&finding["server"], "sleep"), (&finding["clients"][0], "drain")] {
            let at = &end["owners"][0]["at"];
            assert_eq!(at["language"], "Python", "{finding:#}");
            assert_eq!(at["file"], script.to_str().unwrap(), "{finding:#}");
            assert!(at["line"].as_u64() > Some(1), "{finding:#}");
            assert!(at["stack"].to_string().contains(function), "{finding:#}");
        }
    }
}

/// The kernel ends its list of sockets there, and says nothing.
#[test]
fn behind_a_queue_that_is_too_long_to_be_told_all_sockets_are_seen() {
    const LONGER: &str = "echo 20000 > /proc/sys/net/core/somaxconn && exec \"$@\"";
    let Some(python) = find_for_all("python3", "python3") else { return };
    if !rustix::process::getuid().is_root() || !may_have(9_000) {
        eprintln!("skipped: only root can make a network namespace, for a longer queue");
        return;
    }
    let mut stage = Stage::new(User::Me);
    let [script, socket] = [copied(&stage), stage.place.socket.clone()];
    let within = ["--net", "sh", "-c", LONGER, "sh"].map(OsStr::new);
    let role = [python.as_os_str(), "-u".as_ref(), script.as_os_str(), "serve-long-queue".as_ref()];
    stage.run("unshare".as_ref(), &[&within[..], &role, &[socket.as_os_str()]].concat());
    let finding = finds(&stage, "not_accepted", "certain");
    assert!(finding["headline"].as_str().unwrap().starts_with("9000 clients"), "{finding:#}");
    let (_, object) = look(&stage, &[&stage.place.socket]);
    assert!(object["visibility"]["sockets"].as_u64() > Some(9_000), "{object:#}");
}

#[test]
fn ends_that_are_gone() {
    class("serve-close", "call-hold", "server_closed", "certain");
}

#[test]
fn a_child_that_has_nothing_to_do_inherited_the_descriptor() {
    class("serve-fork", "call", "fd_leaked", "likely");
    class("serve-fork-all", "call", "fd_leaked", "likely");
}

/// Regression: a request that was read, and answered, was said to be unread.
#[test]
fn a_newline_that_was_left_over_hides_nothing() {
    class("serve-but-a-newline", "call", "forgotten", "likely");
    class("serve-but-a-newline-asleep", "call", "handler_blocked", "likely");
}

#[test]
fn another_program_that_cannot_answer_inherited_the_descriptor() {
    class("serve-inherited", "call", "fd_leaked", "likely");
}

/// Regression: it was said to have inherited the connection, with certainty, and the command that was advised
/// destroyed its answer.
#[test]
fn a_program_that_was_given_the_connection_is_told_as_its_handler_and_can_answer() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    if find_for_all("perl", "perl").is_none() {
        return;
    }
    for (server, code) in [("serve-give", "handler_blocked"), ("serve-give-busy", "handler_cpu")] {
        let mut stage = Stage::new(User::Me);
        play(&mut stage, &python, server);
        play(&mut stage, &python, "call");
        let finding = finds(&stage, code, "likely");
        assert_eq!(finding["now"], serde_json::json!([]), "{finding:#}");
        let giver = format!("[{}] has closed it", stage.player(0).pid());
        assert!(finding["inferred"].to_string().contains(&giver), "{finding:#}");
        let (exit, text) = attempt(&stage, &["release", &end(&finding["server"]), "--yes"]);
        assert_eq!(exit, Some(1), "{text}");
        assert!(text.contains("may be at the answer"), "{text}");
        let handler = finding["server"]["owners"][0]["pid"].as_i64().unwrap();
        let handler = Pid::from_raw(i32::try_from(handler).unwrap()).unwrap();
        rustix::process::kill_process(handler, Signal::USR1).unwrap();
        assert!(stage.player_mut(1).wait().success(), "it got its answer, and the end");
    }
}

/// Of a child that is busy with something, only it knows whether that is the client's request.
#[test]
fn a_child_that_does_something_else_may_only_have_inherited_the_descriptor() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let mut stage = Stage::new(User::Me);
    play(&mut stage, &python, "serve-fork-asleep");
    play(&mut stage, &python, "call");
    let finding = finds(&stage, "handler_blocked", "likely");
    let parent = format!("[{}] has closed it", stage.player(0).pid());
    assert!(finding["inferred"].to_string().contains(&parent), "{finding:#}");
}

/// The process that has it at the end was not there to be looked at in the beginning.
#[test]
fn a_connection_that_is_handed_over_meanwhile_is_not_said_to_be_with_nobody() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let mut stage = Stage::new(User::Me);
    play(&mut stage, &python, "serve-fork-late");
    play(&mut stage, &python, "call");
    finds(&stage, "handler_blocked", "certain");
    let mut command = Command::new(UNHANG);
    command.args(["why", "--json", "--for", "1s"]).arg(&stage.place.socket);
    let why = Daemon::spawn(&mut command);
    // Not in poll(), where it waits for its helper.
    let sleeps_in = || std::fs::read_to_string(format!("/proc/{}/wchan", why.pid())).ok();
    let sleeps = || sleeps_in().is_some_and(|call| call.contains("nanosleep")).then_some(());
    await_some("it has looked once, and sleeps", sleeps);
    stage.player(0).signal(Signal::USR1);
    let object = serde_json::from_str(&why.await_line("{")).unwrap();
    assert_eq!(codes(&object), [("ok", "certain")], "{object:#}");
    // The next look sees which process has it.
    finds(&stage, "handler_blocked", "likely");
}

#[test]
fn what_was_inherited_is_told_whichever_process_is_asked_about_and_can_be_released() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    let mut stage = Stage::new(User::Me);
    play(&mut stage, &python, "serve-fork");
    play(&mut stage, &python, "call");
    let finding = finds(&stage, "fd_leaked", "likely");
    let heir = finding["server"]["owners"][0]["pid"].to_string();
    let (_, object) = look(&stage, &[heir]);
    assert_eq!(codes(&object), [("fd_leaked", "likely")], "{object:#}");
    let connection = &*end(&finding["server"]);
    let (code, text) = attempt(&stage, &["release", connection, "--yes"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(stage.player_mut(1).wait().success());
}
