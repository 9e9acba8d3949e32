//! Clients that wake often and wait all the same, and a process that is its own client.

use super::python::play;
use super::{finds, suspects_where};
use crate::support::hang::{Stage, users};
use crate::support::programs::find_for_all;

/// What is found of this server if its client wakes a hundred times a second, or has a timer of 30 ms.
#[track_caller]
fn class(server: &str, code: &str, certainty: &str) {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for user in users() {
        for client in ["call-poll", "call-tick"] {
            let mut stage = Stage::new(*user);
            play(&mut stage, &python, server);
            play(&mut stage, &python, client);
            let finding = suspects_where(&stage, code, certainty, |_| true);
            assert_eq!(finding["fault"], certainty != "possible", "{client}: {finding:#}");
        }
    }
}

/// Regression: "OK nothing hangs", with certainty.
#[test]
fn a_server_that_sleeps_hangs() {
    class("serve-sleep", "handler_blocked", "likely");
}

/// Regression: "OK nothing hangs", with certainty. Whether an answer passed between two that run is not seen.
#[test]
fn a_server_that_computes_may_hang() {
    class("serve-compute", "handler_cpu", "possible");
}

#[test]
fn a_server_that_rests_is_no_fault() {
    class("serve-rest", "forgotten", "possible");
}

/// Regression: a deadlock, a circle of one process.
#[test]
fn a_process_that_waits_for_itself_is_in_no_circle() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        play(&mut stage, &python, "serve-itself");
        let finding = finds(&stage, "handler_blocked", "likely");
        assert!(finding["headline"].to_string().contains("it sleeps"), "{finding:#}");
    }
}
