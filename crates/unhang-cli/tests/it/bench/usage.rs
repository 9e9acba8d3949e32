//! Flags that make no sense are refused, with the flags that were expected.

use super::{run, said};
use crate::support::Place;
use crate::support::daemon::Daemon;

#[test]
fn flags_that_make_no_sense_are_refused_with_what_was_expected() {
    let cases: &[(&[&str], &str)] = &[
        (&["--clients", "0"], "expected a whole number from 1 to 2147483647, got \"0\""),
        (&["--clients", "-1"], "expected a whole number from 1 to 2147483647, got \"-1\""),
        (&["--drain", "many"], "expected a whole number from 1 to 2147483647, got \"many\""),
        (&["--count", "x"], "expected a whole number from 1 to 1000000000000, got \"x\""),
        (&["--rounds", "0", "--drain", "5"], "expected a whole number from 1 to"),
        (&["--idle", "-1"], "expected a whole number from 0 to 2147483647, got \"-1\""),
        (&["--pid", "abc"], "expected the pid of a server, as 1234, got \"abc\""),
        (&["--pid", "-1"], "expected the pid of a server, as 1234, got \"-1\""),
        (&["--rate", "-5"], "expected exchanges per second, as 500 or 0.5, got \"-5\""),
        (&["--rate", "0"], "expected exchanges per second, as 500 or 0.5, got \"0\""),
        (&["--rate", "fast"], "expected exchanges per second"),
        (&["--for", "10"], "expected a duration with its unit"),
        (&["--for", "-5s"], "expected a duration with its unit, as 5ms, 10s or 2m, got \"-5s\""),
        (&["--warm-up", "-1s"], "expected a duration with its unit"),
        (&["--timeout", "0s"], "expected a deadline above zero"),
        (&["--timeout", "2000000000000000h"], "expected at most 24h"),
        (&["--request-bytes", "16EiB"], "expected a size of at most 1EiB"),
        (&["--request-bytes", "16GiB"], "expected at most 256MiB"),
        (&["--request-bytes", "-5"], "expected a number of bytes"),
        (&["--reply-bytes", "-5"], "expected a number of bytes"),
        (&["--count", "5", "--for", "1s"], "cannot be used with"),
        (&["--drain", "5", "--rate", "5"], "cannot be used with"),
        (&["--rounds", "5"], "--drain"),
        (&["--request", r"a\q"], r"expected \n, \r, \t, \0, \\ or \xNN"),
        (&["--request", ""], "expected a request of at least one byte, or --half-close"),
        (&["--expect", ""], "expected at least one byte for --expect"),
        (&["--expect", "a", "--reply-bytes", "1"], "cannot be used with"),
        (&["--pid", "1"], "expected the pid of a server, got 1"),
        (&["--pid", "0"], "expected the pid of a server, got 0"),
        (&["--pid", "2147483647"], "there is no process 2147483647"),
    ];
    for (flags, expected) in cases {
        let output = run("/nonexistent/socket", flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{flags:?}: {}", said(&output));
        assert!(output.stdout.is_empty());
    }
}

/// Only so: a flag that follows is no data, and its value was forgotten.
#[test]
fn data_that_begins_like_a_flag_is_data_behind_an_equals_sign() {
    let output = run("/nonexistent/socket", &["--request=--json", "--expect=-1"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}

#[test]
fn more_connections_than_a_process_may_have_are_refused_with_both_numbers() {
    let output = run("/nonexistent/socket", &["--clients", "1000000000", "--idle", "5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("1000000005 connections take"), "{}", said(&output));
    assert!(said(&output).contains("it may have"), "{}", said(&output));
}

#[test]
fn another_machine_is_no_target() {
    let output = run("tcp:192.0.2.1:80", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("192.0.2.1 is not of this machine"), "{}", said(&output));
}

#[test]
fn the_process_that_started_it_is_not_stopped() {
    let place = Place::new();
    let _server = Daemon::serve(&place.socket, &["--quiet"]);
    let us = std::process::id().to_string();
    let output = run(&place.socket, &["--drain", "5", "--pid", &us]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("or what has started it"), "{}", said(&output));
}
