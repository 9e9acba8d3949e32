//! Python's `socket`.

use std::path::Path;
use std::process::Command;

use super::{SILENCE, a_mebibyte, every_way, missing};

const PACKAGE: &str = "python3";

#[test]
fn python_reads_to_the_end() {
    if missing("python3", PACKAGE) {
        return;
    }
    assert_eq!(every_way(python), SILENCE);
}

#[test]
fn python_a_mebibyte_arrives_whole() {
    if missing("python3", PACKAGE) {
        return;
    }
    for (until, half_close) in [("dry", false), ("newline", false), ("half-close", true)] {
        a_mebibyte(until, half_close, python);
    }
}

const CLIENT: &str = r#"
import socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
    s.connect(sys.argv[1])
    s.sendall(sys.stdin.buffer.read())
    if sys.argv[2] == "true":
        s.shutdown(socket.SHUT_WR)
    while data := s.recv(1024):
        sys.stdout.buffer.write(data)
"#;

fn python(path: &Path, half_close: bool) -> Command {
    let mut python = Command::new("python3");
    python.args(["-c", CLIENT]).arg(path).arg(half_close.to_string());
    python
}
