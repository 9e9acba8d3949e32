//! The examples, run as their first line says.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::shell::nc_is_missing;
use super::{Running, Service, find, go, missing};
use crate::support::{Place, root};

/// A client among the examples, ready for its arguments.
struct Example {
    name: &'static str,
    command: Command,
    /// What it says when its time is over.
    late: &'static str,
}

#[test]
fn every_example_prints_the_reply() {
    let programs = TempDir::new().unwrap();
    let service = Service::start(&[]);
    for Example { name, mut command, .. } in examples(programs.path()) {
        let said = service.answers(command.arg(&service.place.socket).arg("hello"), b"hello");
        assert_eq!(said, "", "{name}");
    }
}

/// The reply comes, its end does not: a client without a deadline would wait for ever.
#[test]
fn every_example_gives_up_on_a_server_that_answers_and_never_closes() {
    let programs = TempDir::new().unwrap();
    let place = Place::new();
    let listener = UnixListener::bind(&place.socket).unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((mut client, _)) = listener.accept() {
            client.write_all(b"OK+\n").unwrap();
            open.push(client);
        }
    });
    for (example, said) in fail(examples(programs.path()), &place.socket) {
        assert!(said.contains(example.late), "{}: {said:?}", example.name);
    }
}

/// The connection itself must not take longer than the call may: a blocking `connect()` waits in a
/// full accept queue without limit.
#[test]
fn every_example_gives_up_on_a_server_that_never_accepts() {
    const BUSY: &str = "resource temporarily unavailable";
    let programs = TempDir::new().unwrap();
    let place = Place::new();
    let listener = UnixListener::bind(&place.socket).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _full = UnixStream::connect(&place.socket).unwrap();
    for (example, said) in fail(examples(programs.path()), &place.socket) {
        let busy = said.to_lowercase().contains(BUSY) || said.contains("EAGAIN");
        assert!(busy || said.contains(example.late), "{}: {said:?}", example.name);
    }
}

#[test]
fn every_example_says_that_there_is_no_socket() {
    let programs = TempDir::new().unwrap();
    let place = Place::new();
    for (example, said) in fail(examples(programs.path()), &place.socket) {
        let gone = said.to_lowercase().contains("no such file") || said.contains("ENOENT");
        assert!(gone, "{}: {said:?}", example.name);
    }
}

#[test]
fn every_example_is_under_30_lines() {
    for directory in ["php", "python", "node", "perl", "go", "shell"] {
        for file in root().join("examples").join(directory).read_dir().unwrap() {
            let path = file.unwrap().path();
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines < 30, "{} has {lines} lines", path.display());
        }
    }
}

/// Runs them all at the same time: each must end by itself, with failure. Gives what they said.
fn fail(examples: Vec<Example>, socket: &Path) -> Vec<(Example, String)> {
    let start = |mut example: Example| {
        let running = Running::start(example.command.arg(socket).arg("hello"), b"");
        (example, running)
    };
    let running: Vec<_> = examples.into_iter().map(start).collect();
    let end = |(example, running): (Example, Running)| {
        let ended = running.wait();
        assert!(!ended.status.success(), "{}: {:?}", example.name, ended.printed);
        (example, ended.said)
    };
    running.into_iter().map(end).collect()
}

/// Those whose programs are installed. In `programs` the shell's finds no `socat`.
fn examples(programs: &Path) -> Vec<Example> {
    let mut examples = Vec::new();
    for (program, package, name, late) in [
        ("php", "php-cli", "php/client.php", "no end within 5 s"),
        ("php", "php-cli", "php/sockets.php", "no end within 5 s"),
        ("python3", "python3", "python/client.py", "timed out"),
        ("node", "nodejs", "node/client.mjs", "within 5 s"),
        ("perl", "perl", "perl/client.pl", "no end within 5 s"),
    ] {
        if !missing(program, package) {
            let mut command = Command::new(program);
            command.arg(root().join("examples").join(name));
            examples.push(Example { name, command, late });
        }
    }
    if !missing("go", "golang-go") {
        let command = Command::new(go::example());
        examples.push(Example { name: "go/client.go", command, late: "i/o timeout" });
    }
    let shell = || {
        let mut shell = Command::new("/bin/sh");
        shell.arg(root().join("examples/shell/client.sh"));
        shell
    };
    let late = "no end of the reply within 5 s";
    if !missing("socat", "socat") {
        examples.push(Example { name: "shell/client.sh with socat", command: shell(), late });
    }
    if !nc_is_missing() {
        for program in ["nc", "timeout"] {
            symlink(find(program).unwrap(), programs.join(program)).unwrap();
        }
        let mut command = shell();
        command.env("PATH", programs);
        examples.push(Example { name: "shell/client.sh with nc", command, late });
    }
    examples
}
