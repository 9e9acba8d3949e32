//! The fault table on real sockets: one file per fault, each with what the client sees and what the
//! server's log says. docs/reliability.md is the table; handlers at fault are tested in the library.

mod crowds;
mod descriptors;
mod disk;
mod flood;
mod garbage;
mod half_close;
mod held_up;
mod idle_crowd;
mod kept;
mod memory;
mod more_after;
mod passed;
mod queue_full;
mod silent;
mod slow_writer;
mod socket_file;
mod stopped;
mod system_calls;
mod vanishing;

use std::process::Command;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::{Place, UNHANG};

/// A server whose log is for machines.
fn serve(place: &Place, arguments: &[&str]) -> Daemon {
    Daemon::start(&mut command(place, arguments), "listening")
}

/// The same, with only so many descriptors.
fn serve_with_descriptors(place: &Place, most: u64, arguments: &[&str]) -> Daemon {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {most}; exec \"$@\""), "sh"]);
    let plain = command(place, arguments);
    limited.arg(plain.get_program()).args(plain.get_args());
    Daemon::start(&mut limited, "listening")
}

fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(UNHANG);
    command.arg("serve").arg(&place.socket).args(["--log", "json"]).args(arguments);
    command
}

/// The log's next line about an exchange.
fn next_exchange(server: &Daemon) -> Value {
    serde_json::from_str(&server.await_line("\"exchange\"")).unwrap()
}

/// The log's next exchange ended like this, for this reason.
#[track_caller]
fn assert_ended(server: &Daemon, ended: &str, why: Option<&str>) {
    let line = next_exchange(server);
    assert_eq!((line["ended"].as_str(), line["why"].as_str()), (Some(ended), why), "{line}");
}

/// Whatever went before: the next client is answered, and the log says so.
#[track_caller]
fn assert_serves(server: &Daemon, place: &Place) {
    let reply = Peer::ask(&place.socket, b"hello\n");
    assert!(is_answer(&reply), "{:?}", reply.escape_ascii().to_string());
    assert_ended(server, "answered", None);
}

fn is_answer(reply: &[u8]) -> bool {
    reply.starts_with(b"OK+ at ") && reply.ends_with(b"\n") && reply.len() == 43
}
