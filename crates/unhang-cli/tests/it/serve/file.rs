//! What is said of the socket file, and asked for it, if the socket is not made anew.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::{Place, UNHANG};

/// `unhang serve`, given this socket as systemd gives one.
fn inheriting(socket: OwnedFd, arguments: &[&str]) -> Command {
    let steps = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", steps, "sh", UNHANG, "serve"]).args(arguments).stdin(socket);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn chmod(place: &Place, mode: u32) {
    std::fs::set_permissions(&place.socket, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn of_a_socket_that_was_passed_it_shows_the_mode_that_the_file_has() {
    let place = Place::new();
    let socket = UnixListener::bind(&place.socket).unwrap();
    chmod(&place, 0o606);
    let mut server =
        inheriting(socket.into(), &["--log", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(line.contains("\"mode\":\"0606\""), "{line}");
}

#[test]
fn taken_over_it_shows_the_mode_that_the_file_has_and_says_what_was_not_done() {
    let place = Place::new();
    let _old = Daemon::serve(&place.socket, &["--mode", "0606"]);
    let mut command = Command::new(UNHANG);
    command.args(["serve", "--replace", "--mode", "0600"]).arg(&place.socket);
    let stderr = place.directory.path().join("stderr");
    command.stderr(std::fs::File::create(&stderr).unwrap());
    let new = Daemon::spawn(&mut command);
    let line = new.await_line("listening");
    assert!(line.contains("mode 0606"), "{line}");
    let said = std::fs::read_to_string(stderr).unwrap();
    assert!(said.contains("--mode 0600") && said.contains("has 0606"), "{said}");
}

#[test]
fn a_file_cannot_be_asked_for_where_there_is_none_of_ours() {
    let name = format!("@unhang-no-file-{}", std::process::id());
    let asked = [["--mode", "0600"], ["--owner", "0"], ["--group", "0"]];
    for flags in asked {
        let mut command = Command::new(UNHANG);
        command.args(["serve", &name]).args(flags);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(flags[0]) && said.contains("has no file"), "{said}");

        let place = Place::new();
        let socket = UnixListener::bind(&place.socket).unwrap();
        let output = inheriting(socket.into(), &flags).output().unwrap();
        let said = self::said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(flags[0]) && said.contains("SocketMode="), "{said}");
    }
}

/// It was dropped without a word.
#[test]
fn the_length_of_a_passed_sockets_queue_is_set_where_it_was_made() {
    let place = Place::new();
    let socket = UnixListener::bind(&place.socket).unwrap();
    let output = inheriting(socket.into(), &["--backlog", "7"]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--backlog") && said.contains("Backlog="), "{said}");
}

/// The same.
#[test]
fn the_length_of_a_queue_that_is_taken_over_is_set_where_it_was_asked_for() {
    let place = Place::new();
    let length = || {
        let output = Command::new(UNHANG).args(["why", "--json"]).arg(&place.socket).output();
        let object: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        object["listeners"][0]["backlog"].as_u64()
    };
    let mut servers = vec![Daemon::serve(&place.socket, &["--backlog", "7"])];
    assert_eq!(length(), Some(7));
    for (asked, expected) in [(&["--backlog", "9"][..], 9), (&[], 9), (&["--backlog", "5"], 5)] {
        servers.push(Daemon::serve(&place.socket, &[&["--replace"], asked].concat()));
        assert_eq!(length(), Some(expected), "{asked:?}");
    }
}

#[test]
fn a_passed_socket_that_does_not_listen_is_refused() {
    let place = Place::new();
    // Not for the programs that other tests start meanwhile.
    let flags = SocketFlags::CLOEXEC;
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, flags, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(&place.socket).unwrap()).unwrap();
    let output = inheriting(socket, &[]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("it does not listen"), "{said}");
}
