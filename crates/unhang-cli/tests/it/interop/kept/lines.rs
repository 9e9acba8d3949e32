//! Clients of lines: nc, PHP's streams, and the shell.

use std::process::Command;

use unhang::{Delimiter, Errors};

use super::super::missing;
use super::{Kept, on_one_connection};

fn serve() -> Kept {
    Kept::start(|server| server.lines(Delimiter::Newline, Errors::Text))
}

#[test]
fn nc_sends_three_lines_and_half_closes() {
    if missing("nc", "netcat-openbsd") {
        return;
    }
    let server = serve();
    let mut nc = Command::new("nc");
    nc.args(["-N", "-U", server.path()]);
    let (printed, exchanges) = server.serves(&mut nc, b"one\ntwo\n\n");
    assert_eq!(printed, "line - one\nline - two\nline - \n");
    assert_eq!(exchanges, on_one_connection(3));
}

#[test]
fn php_fgets_gets_a_line_for_each() {
    if missing("php", "php-cli") {
        return;
    }
    let server = serve();
    let mut php = Command::new("php");
    php.args(["-r", PHP, server.path()]);
    let (printed, exchanges) = server.serves(&mut php, b"");
    assert_eq!(printed, "line - 0\nline - 1\nline - 2\nline - 3\nline - 4\n");
    assert_eq!(exchanges, on_one_connection(5));
}

/// The last two are sent before the answer to the first of them is read.
const PHP: &str = r#"
    $stream = stream_socket_client('unix://' . $argv[1]);
    stream_set_timeout($stream, 60);
    for ($i = 0; $i < 3; $i++) {
        fwrite($stream, "$i\n");
        echo fgets($stream);
    }
    fwrite($stream, "3\n4\n");
    echo fgets($stream), fgets($stream);
"#;

#[test]
fn python_speaks_json_rpc_with_a_nul_byte() {
    if missing("python3", "python3") {
        return;
    }
    let server = Kept::start(|server| server.lines(Delimiter::Nul, Errors::JsonRpc));
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON, server.path()]);
    let (printed, exchanges) = server.serves(&mut python, b"");
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no JSON: "#;
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], r#"line - {"jsonrpc": "2.0", "id": 1, "method": "a"}"#);
    assert!(lines[1].starts_with(error), "{printed}");
    assert_eq!(lines[2], r#"line - {"jsonrpc": "2.0", "id": 2, "method": "b"}"#);
    let ended: Vec<_> = exchanges.iter().map(|(nth, code)| (*nth, code.as_str())).collect();
    assert_eq!(ended, [(1, "answered"), (2, "refused"), (3, "answered")]);
}

const PYTHON: &str = r#"
import json, socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(60)
client.connect(sys.argv[1])
replies = client.makefile('rb')
def ask(message):
    client.sendall(message.encode() + b'\0')
    reply = b''
    while not reply.endswith(b'\0'):
        reply += replies.read(1)
    print(reply[:-1].decode())
ask(json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'a'}))
ask('{"jsonrpc"')
ask(json.dumps({'jsonrpc': '2.0', 'id': 2, 'method': 'b'}))
"#;
