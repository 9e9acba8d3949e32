//! Servers behind a front that something else than a client wakes in the middle of a reply: nothing of it may be lost,
//! and the half must not be taken for the whole.

use std::process::Command;

use super::{Fronted, servers};
use crate::support::peer::Peer;
use crate::support::programs::missing;

fn helped(kind: &str) -> Fronted {
    let mut command = Command::new("python3");
    command.arg(servers().join("helped.py")).arg(kind);
    // Far from what the rest takes.
    Fronted::new(command, &["--handler-deadline", "60s"])
}

/// All of them were cut after the half, and told as answered: what wakes them was taken for their own, or was not looked
/// for.
#[test]
fn a_reply_is_never_cut_whatever_wakes_its_server() {
    if missing("python3", "python3") {
        return;
    }
    for kind in [
        "queue",
        "semaphore",
        "eventfd",
        "pair",
        "child",
        "alarm",
        "named_socket",
        "thread",
        "orphan",
    ] {
        let fronted = helped(kind);
        for _ in 0..3 {
            let told = Peer::ask(&fronted.served.place.socket, b"x\n");
            assert_eq!(String::from_utf8_lossy(&told), "half done\n", "{kind}");
        }
    }
}

/// A reply in HTTP says how long it is: one that is not whole is never ended as if it were.
#[test]
fn a_reply_in_http_is_whole_or_cut() {
    if missing("python3", "python3") {
        return;
    }
    let fronted = helped("http");
    let told = Peer::ask(&fronted.served.place.socket, b"GET / HTTP/1.1\r\n\r\n");
    let told = String::from_utf8(told).unwrap();
    assert!(told.ends_with("\r\n\r\nhalf done\n"), "{told}");

    let fronted = Fronted::kind("http-half", &["--handler-deadline", "300ms"]);
    let mut client = Peer::connect(&fronted.served.place.socket);
    client.write(b"GET / HTTP/1.1\r\n\r\n");
    let (told, end) = client.try_read_to_end();
    assert!(end.is_err(), "a clean end after half of the reply: {}", told.escape_ascii());
    fronted.served.daemon.await_line("cut");
}
