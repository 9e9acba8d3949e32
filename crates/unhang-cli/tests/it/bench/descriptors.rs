//! Regression: a server passed a TCP connection with `SO_LINGER` along with its replies, and the kernel
//! held the load for as long.

use std::time::Instant;

use serde_json::Value;

use super::{bench, ends};
use crate::support::Place;
use crate::support::passing::{LINGER, serve, without_passrights};
use crate::support::programs::missing;

const FLAGS: [&str; 4] = ["--count", "3", "--timeout", "20s"];

#[test]
fn a_load_refuses_them() {
    let place = Place::new();
    serve(&place.socket, b"OK\n");
    let began = Instant::now();
    let (report, code) = bench(&place.socket, &FLAGS);
    assert_eq!((ends(&report), code), (vec![("answered", 3)], 0), "{report:#}");
    assert!(began.elapsed() < LINGER);
}

#[test]
fn on_an_older_kernel_a_load_does_not_wait_for_them() {
    if missing("strace", "strace") {
        return;
    }
    let place = Place::new();
    serve(&place.socket, b"OK\n");
    let began = Instant::now();
    let mut command = without_passrights("1+");
    command.arg("bench").arg(&place.socket).args(["--json", "--warm-up", "0s"]).args(FLAGS);
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((ends(&report), output.status.code()), (vec![("wrong", 3)], Some(1)), "{report:#}");
    assert!(began.elapsed() < LINGER);
}
