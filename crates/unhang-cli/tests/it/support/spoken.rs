//! What clients say on the wires that keep their connection.

use unhang::frame::{GoridgeCodec, goridge_call};

pub(crate) const WIRES: [&str; 3] = ["lines", "http", "goridge"];

/// A request to the server that answers with the time. What it answers ends, on each of these wires, with
/// [`END`].
pub(crate) fn request(wire: &str) -> Vec<u8> {
    match wire {
        "lines" => b"hello\n".to_vec(),
        "http" => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        "goridge" => goridge_call("S.m", GoridgeCodec::Json, 1, b"hello").unwrap(),
        other => panic!("no wire that keeps its connection: {other}"),
    }
}

pub(crate) const END: &[u8] = b"+00:00\n";
