//! Connections of which nothing tells whether they are idle: nothing is certain of them.

use super::go::program;
use super::python::play;
use super::{codes, look, suspects_where};
use crate::support::hang::{Stage, User, users};
use crate::support::programs::find_for_all;

/// Regression: "OK nothing hangs", with certainty, of a client that waited in vain.
#[test]
fn two_event_loops_are_not_certain_to_be_well() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        play(&mut stage, &python, "serve-watch");
        play(&mut stage, &python, "call-watch");
        let finding = suspects_where(&stage, "ok", "likely", |_| true);
        let headline = finding["headline"].as_str().unwrap();
        assert!(headline.starts_with("nothing seen to hang"), "{finding:#}");
        let said = "1 connection is idle or waits, which cannot be told";
        assert!(headline.contains(said), "{finding:#}");
        let (exit, object) = look(&stage, &[&stage.place.socket]);
        assert_eq!((exit, object["undecided"].as_u64()), (0, Some(1)), "{object:#}");
    }
}

/// What has a finding of its own is not among them.
#[test]
fn a_connection_with_a_finding_is_decided() {
    let Some(program) = program() else { return };
    let mut stage = Stage::new(User::Me);
    let socket = stage.place.socket.clone();
    stage.run(program, &["forget".as_ref(), socket.as_os_str()]);
    stage.play("call", "ready");
    suspects_where(&stage, "answered_not_closed", "certain", |_| true);
    let (_, object) = look(&stage, &[&socket]);
    assert_eq!(codes(&object), [("answered_not_closed", "certain")], "{object:#}");
    assert_eq!(object["undecided"], 0, "{object:#}");
}
