//! The classes that `classes.rs` has in Rust, in a language whose runtime nobody looks into: what is
//! found rests on the kernel alone.

use std::path::Path;

use super::finds;
use crate::support::hang::{Stage, users};
use crate::support::programs::find_for_all;
use crate::support::root;

/// A server, a client, and what is to be found of them.
#[track_caller]
fn class(server: &str, client: &str, code: &str, certainty: &str) {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        for role in [server, client] {
            play(&mut stage, &python, role);
        }
        let finding = finds(&stage, code, certainty);
        let client = finding["clients"][0]["owners"][0]["pid"].as_u64();
        if !finding["clients"].as_array().unwrap().is_empty() {
            assert_eq!(client, Some(stage.player(1).pid().into()), "{finding:#}");
        }
    }
}

pub(super) fn play(stage: &mut Stage, python: &Path, role: &str) {
    // Copied to where every user may read it.
    let script = stage.path("hang.py");
    std::fs::copy(root().join("crates/unhang-cli/tests/it/why/hang.py"), &script).unwrap();
    let socket = stage.place.socket.clone();
    let arguments = ["-u".as_ref(), script.as_os_str(), role.as_ref(), socket.as_os_str()];
    stage.run(python, &arguments);
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
    class("serve-read", "call-mute", "both_waiting", "certain");
}

#[test]
fn ends_that_are_gone() {
    class("serve-close", "call-hold", "server_closed", "certain");
    class("serve-sleep", "call-leave", "client_gone", "certain");
}

#[test]
fn another_program_inherited_the_descriptor() {
    class("serve-leak", "call", "fd_leaked", "certain");
}
