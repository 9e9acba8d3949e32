//! Pages and services in PHP: the line of the script that waits.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::acting::attempt;
use super::{finds, finds_where, go, suspects_where};
use crate::support::hang::{Stage, users};
use crate::support::programs::find_for_all;
use crate::support::{PATIENCE, root};

/// As the pages that hang are written: it reads until there is nothing more.
const PAGE: &str = r#"<?php
$socket = socket_create(AF_UNIX, SOCK_STREAM, 0);
socket_connect($socket, $argv[1]);
socket_write($socket, "hello");
echo "ready\n";
while ($out = socket_read($socket, 2048, PHP_NORMAL_READ)) {
    echo $out;
}
"#;
/// Where it waits, counted from 1.
const PAGE_READS: u32 = 6;

/// One connection after the other, and what is done with each in place of HANDLE.
const SERVICE: &str = r#"<?php
$listener = socket_create(AF_UNIX, SOCK_STREAM, 0);
socket_bind($listener, $argv[1]);
socket_listen($listener, 128);
echo "ready\n";
$kept = [];
while ($socket = socket_accept($listener)) {
    HANDLE
}
"#;
const SERVICE_HANDLES: u32 = 8;

fn php() -> Option<PathBuf> {
    find_for_all("php", "php-cli")
}

/// Writes a script on the stage and runs it with the socket as its argument.
fn run(stage: &mut Stage, php: &Path, name: &str, text: &str) -> PathBuf {
    let script = stage.path(name);
    fs::write(&script, text).unwrap();
    let socket = stage.place.socket.clone();
    stage.run(php, &[&script, &socket]);
    script
}

#[track_caller]
fn assert_at(end: &Value, script: &Path, line: u32, function: &str) {
    let at = &end["owners"][0]["at"];
    let keys = ["language", "file", "line", "function", "variables"];
    let found: serde_json::Map<_, _> =
        keys.iter().map(|key| ((*key).to_owned(), at[key].clone())).collect();
    let expected = json!({
        "language": "PHP", "file": script, "line": line, "function": function, "variables": {},
    });
    assert_eq!(Value::Object(found), expected, "{end:#}");
}

/// The case that this project began with: the page spins, the server believes that it is done.
#[test]
fn a_page_whose_server_answered_and_did_not_close_is_found_and_released() {
    let (Some(php), Some(server)) = (php(), go::program()) else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        let socket = stage.place.socket.clone();
        stage.run(server, &["forget".as_ref(), socket.as_os_str()]);
        let page = run(&mut stage, &php, "page.php", PAGE);
        let finding = finds(&stage, "answered_not_closed", "certain");
        assert_at(&finding["clients"][0], &page, PAGE_READS, "socket_read");
        let facts = finding["because"].to_string();
        assert!(facts.contains("no goroutine reads this connection"), "{finding:#}");
        assert!(facts.contains("no goroutine is left that could own it"), "{finding:#}");

        let screen = stage.why(&["--for".as_ref(), "100ms".as_ref(), socket.as_os_str()]).stdout;
        let screen = String::from_utf8(screen).unwrap().replace(page.to_str().unwrap(), PAGE_THERE);
        assert_eq!(shape(&screen), shape(&readme().replace(SERVER_THERE, "go-hangs")));

        let command = finding["now"][0].as_str().unwrap();
        let connection = command.strip_prefix("unhang why --try release ").unwrap();
        let (code, text) = attempt(&stage, &["release", connection, "--yes"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(stage.player_mut(1).wait().success(), "the page has got its reply and its end");

        let mut next = UnixStream::connect(&socket).unwrap();
        next.set_read_timeout(Some(PATIENCE)).unwrap();
        next.write_all(b"hello").unwrap();
        let mut reply = [0; 3];
        next.read_exact(&mut reply).unwrap();
        assert_eq!(reply, *b"OK\n", "the server serves on");
    }
}

/// The screen as the README shows it, of a page and a server with these names.
fn readme() -> String {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, screen) = text.split_once("$ sudo unhang why /tmp/odc_ws.sock\n").unwrap();
    screen.split_once("```").unwrap().0.to_owned()
}

const PAGE_THERE: &str = "/srv/www/page.php";
const SERVER_THERE: &str = "odc_server";

/// Without what is different in every run: numbers, and how long it has lasted.
fn shape(screen: &str) -> String {
    let mut shape = String::new();
    for one in screen.chars() {
        match one {
            '0'..='9' if shape.ends_with('0') => {}
            '0'..='9' => shape.push('0'),
            other => shape.push(other),
        }
    }
    shape.replace("0ms", "0s")
}

/// A service and a page: what is to be found, and in which function the service waits.
fn class(handle: &str, code: &str, certainty: &str, function: &str) {
    let Some(php) = php() else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        let service = run(&mut stage, &php, "service.php", &SERVICE.replace("HANDLE", handle));
        let page = run(&mut stage, &php, "page.php", PAGE);
        let finding = suspects_where(&stage, code, certainty, |finding| {
            finding["server"]["owners"][0]["at"]["function"] == function
        });
        let line = SERVICE_HANDLES - u32::from(function == "socket_accept");
        assert_at(&finding["server"], &service, line, function);
        assert_at(&finding["clients"][0], &page, PAGE_READS, "socket_read");
    }
}

#[test]
fn a_service_that_reads_to_a_newline_and_a_page_that_sends_none_wait_for_each_other() {
    let line = "socket_read($socket, 2048, PHP_NORMAL_READ);";
    class(line, "both_waiting", "possible", "socket_read");
}

#[test]
fn a_service_that_sleeps_is_named_with_its_line() {
    let handle = "socket_read($socket, 2048); sleep(3600);";
    class(handle, "handler_blocked", "certain", "sleep");
}

#[test]
fn a_service_that_keeps_its_connection_has_forgotten_it() {
    let handle = r#"$kept[] = $socket; socket_read($socket, 2048); socket_write($socket, "OK\n");"#;
    class(handle, "forgotten", "likely", "socket_accept");
}

#[test]
fn a_page_that_does_not_come_to_its_reply_is_named_with_its_line() {
    let Some(php) = php() else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        stage.play("serve-reply", "listening");
        let busy = PAGE.replace("while (", "sleep(3600);\nwhile (");
        let page = run(&mut stage, &php, "page.php", &busy);
        let finding = finds_where(&stage, "reply_unread", "certain", |finding| {
            finding["clients"][0]["owners"][0]["at"]["function"] == "sleep"
        });
        assert_at(&finding["clients"][0], &page, PAGE_READS, "sleep");
    }
}
