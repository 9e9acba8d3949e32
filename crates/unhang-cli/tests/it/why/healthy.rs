//! No alarm if nothing hangs, however busy it is.

use super::{codes, look};
use crate::support::hang::{Stage, User};

const RUNS: usize = 30;

/// A busy server and its clients, looked at again and again.
fn no_alarm(client: &str) {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-echo", "listening");
    stage.play(client, "ready");
    for run in 0..RUNS {
        let (exit, object) = look(&stage, &[&stage.place.socket]);
        // Of a connection that looks alike in each sample it cannot be told that something passed.
        let is_sure = object["undecided"] == 0;
        let certainty = if is_sure { "certain" } else { "likely" };
        assert_eq!(codes(&object), [("ok", certainty)], "run {run}: {object:#}");
        // A machine that is busy enough keeps a part of it from being looked at, which is told.
        let whole = object["not_looked_at"].as_array().is_none_or(Vec::is_empty);
        assert_eq!(exit, if whole { 0 } else { 3 }, "run {run}: {object:#}");
    }
}

#[test]
fn conversations_that_never_rest() {
    no_alarm("ping-pong");
}

#[test]
fn a_storm_of_connections() {
    no_alarm("storm");
}

#[test]
fn a_connection_that_its_client_keeps_for_later() {
    let mut stage = Stage::new(User::Me);
    stage.play("serve-echo", "listening");
    stage.play("call-keep", "ready");
    let (exit, object) = look(&stage, &[&stage.place.socket]);
    assert_eq!((exit, codes(&object)), (0, vec![("ok", "certain")]), "{object:#}");
}
