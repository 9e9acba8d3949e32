//! PHP: the streams that most code uses, and ext/sockets with both its ways to read.

use std::path::Path;
use std::process::Command;

use super::{SILENCE, a_mebibyte, every_way, missing};

const PACKAGE: &str = "php-cli";

#[test]
fn php_stream_socket_client_reads_to_the_end() {
    if missing("php", PACKAGE) {
        return;
    }
    assert_eq!(every_way(streams), SILENCE);
}

#[test]
fn php_socket_read_binary_reads_to_the_end() {
    if missing("php", PACKAGE) {
        return;
    }
    assert_eq!(every_way(|path, half_close| sockets(BINARY, path, half_close)), SILENCE);
}

/// Such code sees no reset at the end of a reply: the loop asks once more after the
/// last line, there is nothing, and PHP (8.2) calls `recv()` 200 times and then makes up an
/// ECONNRESET with a warning. With `PHP_BINARY_READ`, above, the same end is clean. A last line
/// without a newline it would drop: the answer has one.
#[test]
fn php_socket_read_normal_gets_its_line_and_a_made_up_reset_but_does_not_hang() {
    if missing("php", PACKAGE) {
        return;
    }
    let reset = "socket_read(): unable to read from socket [104]: Connection reset by peer";
    for said in every_way(|path, half_close| sockets(NORMAL, path, half_close)) {
        assert_eq!(said.matches("Warning:").count(), 1, "{said}");
        assert!(said.contains(reset), "{said}");
    }
}

#[test]
fn php_a_mebibyte_arrives_whole() {
    if missing("php", PACKAGE) {
        return;
    }
    for (until, half_close) in [("dry", false), ("newline", false), ("half-close", true)] {
        a_mebibyte(until, half_close, streams);
        a_mebibyte(until, half_close, |path, half_close| sockets(BINARY, path, half_close));
    }
}

const STREAMS: &str = r"
    $message = stream_get_contents(STDIN);
    $stream = stream_socket_client('unix://' . $argv[1]);
    for ($sent = 0; $sent < strlen($message); $sent += fwrite($stream, substr($message, $sent)));
    if ($argv[2] === 'true') {
        stream_socket_shutdown($stream, STREAM_SHUT_WR);
    }
    while (!feof($stream)) {
        echo fread($stream, 1024);
    }
    fclose($stream);
";

fn streams(path: &Path, half_close: bool) -> Command {
    php(STREAMS, path, half_close)
}

/// Reads as [`NORMAL`] or [`BINARY`] does.
const SOCKETS: &str = r"
    $message = stream_get_contents(STDIN);
    $socket = socket_create(AF_UNIX, SOCK_STREAM, 0);
    socket_connect($socket, $argv[1]);
    socket_write($socket, $message, strlen($message));
    if ($argv[2] === 'true') {
        socket_shutdown($socket, 1);
    }
    while ($out = socket_read($socket, 2048, MODE)) {
        echo $out;
    }
    socket_close($socket);
";
const NORMAL: &str = "PHP_NORMAL_READ";
const BINARY: &str = "PHP_BINARY_READ";

fn sockets(mode: &str, path: &Path, half_close: bool) -> Command {
    php(&SOCKETS.replace("MODE", mode), path, half_close)
}

/// PHP that says what it has to say on standard error, whatever the machine's php.ini says.
fn php(code: &str, path: &Path, half_close: bool) -> Command {
    let mut php = Command::new("php");
    php.args(["-d", "error_reporting=-1", "-d", "display_errors=stderr", "-d", "log_errors=0"]);
    php.args(["-d", "html_errors=0", "-r", code]).arg(path).arg(half_close.to_string());
    php
}
