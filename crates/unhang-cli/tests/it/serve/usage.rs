//! Flags that make no sense are refused, with the flags that were expected.

use std::process::{Command, Stdio};

use crate::support::{Place, UNHANG};

#[test]
fn arguments_that_make_no_sense_are_2_and_say_what_was_expected() {
    for (arguments, why) in [
        (&["--mode", "0999"][..], "permission bits in octal"),
        (&["--owner", "no-such-user"], "name or number"),
        (&["--settle", "fast"], "a duration with its unit"),
        (&["--read-deadline", "0s"], "a deadline above zero"),
        (&["--max-request", "much"], "a number of bytes"),
        (&["--backlog", "0"], "expected a whole number from 1 to 2147483647, got \"0\""),
        (&["--max-connections", "0"], "expected a whole number from 1 to"),
        (&["--threads", "many"], "expected a whole number from 0 to"),
        (&["--until", "never"], "dry, newline, half-close"),
        (&["--owner", "-1"], "got \"-1\", which this machine does not know"),
        (&["--owner", "4294967295"], "4294967295 is no user's number"),
        (&["--linger", "-5s"], "a duration with its unit"),
        (&["--log", "-x"], "text, json"),
    ] {
        let place = Place::new();
        let output = Command::new(UNHANG)
            .arg("serve")
            .arg(&place.socket)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
        assert!(!place.socket.exists());
    }
}

#[test]
fn help_shows_every_default_with_its_unit() {
    let output = Command::new(UNHANG).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for default in ["10s", "2s", "8s", "250ms", "1MiB", "0660", "4096", "1000"] {
        assert!(help.contains(&format!("[default: {default}]")), "{default}: {help}");
    }
}

#[test]
fn a_request_that_is_allowed_and_could_never_be_held_is_refused_at_the_start() {
    let place = Place::new();
    let output = Command::new(UNHANG)
        .arg("serve")
        .arg(&place.socket)
        .args(["--max-held", "100KiB", "--max-request", "1MiB"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--max-held 100KiB") && said.contains("--max-request 1MiB"), "{said}");
    assert!(!place.socket.exists());
}
