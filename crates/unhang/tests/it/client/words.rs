//! What its errors say, and what they advise.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use unhang::{Client, ErrorKind};

use super::call_to;

/// The server was blamed, and its log had nothing.
#[test]
fn a_server_that_takes_the_half_close_for_the_end_is_called_without_one() {
    let behaviour = |stream: &mut UnixStream| {
        let _ = stream.read_to_end(&mut Vec::new());
        stream.shutdown(Shutdown::Both).unwrap();
    };
    let error = call_to(behaviour, |client| client, b"hello").unwrap_err().to_string();
    assert!(error.contains("--no-half-close") && error.contains("half_close(false)"), "{error}");

    let behaviour = |stream: &mut UnixStream| {
        let _ = stream.read(&mut [0; 64]);
        stream.shutdown(Shutdown::Both).unwrap();
    };
    let keeps_open = |client: Client| client.half_close(false);
    let error = call_to(behaviour, keeps_open, b"hello").unwrap_err().to_string();
    assert!(!error.contains("half-close"), "{error}");
}

/// All two megabytes were in the message, and acted on the terminal.
#[test]
fn a_refusal_of_any_bytes_is_short_and_harmless_in_the_message_and_whole_in_the_reason() {
    let reason = format!("a\x1b[2J\r\u{202e}{}", "x".repeat(2_000_000));
    let line = format!("ERR {reason}\n");
    let behaviour = move |stream: &mut UnixStream| {
        stream.write_all(line.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    };
    let error = call_to(behaviour, |client| client, b"hello").unwrap_err();
    let said = error.to_string();
    assert!(said.len() < 500 && said.contains(r"a\u{1b}[2J\u{d}\u{202e}xx"), "{said}");
    match error.into_kind() {
        ErrorKind::Refused { reason: raw, .. } => assert!(raw == reason),
        kind => panic!("{kind:?}"),
    }
}
