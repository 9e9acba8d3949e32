//! `unhang bench`: against a server that does it right, and against those that do not.

mod bad_servers;
mod descriptors;
mod drain;
mod good_server;
mod kept;
mod listener;
mod output;
mod unreachable;
mod usage;

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::UNHANG;

/// Runs it, without a warm-up, and gives what it printed as JSON and how it exited.
fn bench(target: impl AsRef<OsStr>, arguments: &[&str]) -> (Value, i32) {
    let output = run(target, &[&["--warm-up", "0s", "--json"], arguments].concat());
    let code = output.status.code().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let parsed = serde_json::from_str(&text);
    let report: Value = parsed.unwrap_or_else(|error| {
        panic!("{error}: {text:?}, {}", String::from_utf8_lossy(&output.stderr))
    });
    assert_eq!(report["exit"], code, "{report:#}");
    (report, code)
}

fn run(target: impl AsRef<OsStr>, arguments: &[&str]) -> Output {
    let mut command = command(target, arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn command(target: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(UNHANG);
    command.arg("bench").arg(target).args(arguments);
    command
}

/// What it says on standard error.
fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// How often exchanges ended in each way, of those ways that there were.
fn ends(report: &Value) -> Vec<(&str, u64)> {
    let ends = report["ended"].as_object().unwrap().iter();
    let ends = ends.map(|(name, count)| (name.as_str(), count.as_u64().unwrap()));
    ends.filter(|(_, count)| *count > 0).collect()
}
