//! A finding must be told; a closed output is no reason to die.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Output, Stdio};

use super::{command, said};
use crate::support::Place;
use crate::support::daemon::Daemon;

const SHORT: [&str; 4] = ["--count", "5", "--warm-up", "0s"];

/// A disk without room.
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

fn print_to(stdout: impl Into<Stdio>, flags: &[&str]) -> Output {
    let place = Place::new();
    let _server = Daemon::serve(&place.socket, &["--quiet"]);
    let child = command(&place.socket, &[&SHORT, flags].concat())
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn();
    child.unwrap().wait_with_output().unwrap()
}

/// It exited 0 without a word.
#[test]
fn a_report_that_could_not_be_written_was_success() {
    for flags in [&[][..], &["--json"]] {
        let output = print_to(full(), flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        assert!(said(&output).contains("cannot write the report: No space left"), "{output:?}");
    }
}

#[test]
fn a_reader_that_has_left_has_seen_enough() {
    for flags in [&[][..], &["--json"]] {
        let (reader, writer) = UnixStream::pair().unwrap();
        drop(reader);
        let output = print_to(OwnedFd::from(writer), flags);
        assert_eq!((output.status.code(), &said(&output)[..]), (Some(0), ""), "{flags:?}");
    }
}

/// It panicked, and exited 101.
#[test]
fn a_complaint_that_cannot_be_written_leaves_the_exit_code() {
    let place = Place::new();
    let code = |flags: &[&str]| {
        let mut command = command(&place.socket, flags);
        command.stdout(Stdio::null()).stderr(full()).status().unwrap().code()
    };
    assert_eq!(code(&["--pid", "1"]), Some(2));
    assert_eq!(code(&[]), Some(3));
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    // If the server is stopped, that is announced.
    assert_eq!(code(&["--drain", "5", "--rounds", "1", "--warm-up", "0s"]), Some(0));
    server.await_idle();
}
