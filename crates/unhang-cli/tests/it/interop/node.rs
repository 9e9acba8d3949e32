//! Node's `net`, with its default `allowHalfOpen: false`.

use std::path::Path;
use std::process::Command;

use super::{SILENCE, a_mebibyte, every_way, missing};

const PACKAGE: &str = "nodejs";

#[test]
fn node_reads_to_the_end() {
    if missing("node", PACKAGE) {
        return;
    }
    assert_eq!(every_way(node), SILENCE);
}

#[test]
fn node_a_mebibyte_arrives_whole() {
    if missing("node", PACKAGE) {
        return;
    }
    for (until, half_close) in [("dry", false), ("newline", false), ("half-close", true)] {
        a_mebibyte(until, half_close, node);
    }
}

/// Nobody ends the socket where it is not half-closed: Node does so itself at the reply's end, and
/// the process lives until it has.
const CLIENT: &str = r"
    const [path, halfClose] = process.argv.slice(1);
    const message = require('fs').readFileSync(0);
    const socket = require('net').connect(path);
    if (halfClose === 'true') socket.end(message);
    else socket.write(message);
    socket.on('data', (data) => process.stdout.write(data));
";

fn node(path: &Path, half_close: bool) -> Command {
    let mut node = Command::new("node");
    node.args(["-e", CLIENT]).arg(path).arg(half_close.to_string());
    node
}
