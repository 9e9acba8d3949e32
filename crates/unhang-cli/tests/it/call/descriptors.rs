//! Regression: a server passed a TCP connection with `SO_LINGER` along with its reply, and the kernel held
//! the command for as long, whatever its deadline.

use std::process::Command;
use std::time::Instant;

use super::{call, said};
use crate::support::Place;
use crate::support::passing::{LINGER, serve, without_passrights};
use crate::support::programs::missing;

#[test]
fn a_call_refuses_it_and_gets_its_reply() {
    let place = Place::new();
    serve(&place.socket, b"OK\n");
    let began = Instant::now();
    let arguments = ["hello", "--reply-ends", "newline"];
    let output = call(&place.socket, &arguments, b"");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"OK\n"[..]));
    assert!(began.elapsed() < LINGER);
}

/// Linux before 6.16: nothing is refused there, so the command must not read it.
#[test]
fn on_an_older_kernel_a_call_does_not_wait_for_it_and_says_what_the_server_did() {
    if missing("strace", "strace") {
        return;
    }
    let place = Place::new();
    serve(&place.socket, b"OK\n");
    let began = Instant::now();
    let old = |arguments: &[&str]| {
        let mut command: Command = without_passrights("1+");
        command.arg("call").arg(&place.socket).arg("hello").args(arguments).output().unwrap()
    };
    let output = old(&[]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"OK\n"[..]));
    assert!(said(&output).contains("passes a file descriptor"), "{}", said(&output));
    // Whole with the bytes that came with it.
    let output = old(&["--reply-ends", "newline"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"OK\n"[..]));
    assert!(began.elapsed() < LINGER);
}
