//! What `unhang serve` waits for is followed: to its worker, its program or the server behind it, and to the line
//! there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{finds_where, look, suspects_where};
use crate::interop::go::build;
use crate::support::await_some;
use crate::support::hang::{Stage, User, shared, users};
use crate::support::programs::{find_for_all, missing};

pub(super) const LONG: [&str; 2] = ["--handler-deadline", "10m"];

/// The last process of the chain, if it is at this line of this file.
fn is_at(finding: &Value, file: &str, line: u64) -> bool {
    let last = finding["chain"].as_array().and_then(|chain| chain.last()).unwrap_or(&Value::Null);
    let places = last["threads"].as_array().into_iter().flatten().chain([&last["goroutine"]]);
    places.into_iter().any(|place| {
        place["file"].as_str().is_some_and(|name| name.ends_with(file)) && place["line"] == line
    })
}

/// A file that every user may read, and run.
pub(super) fn script(stage: &Stage, name: &str, text: &str) -> PathBuf {
    let path = stage.path(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Serves with this command behind `--`, has one client ask, and finds where that command hangs.
#[track_caller]
fn hangs_at(stage: &mut Stage, flags: &[&str], command: &[&str], file: &str, line: u64) -> Value {
    stage.serve(&[&LONG[..], flags, &["--"], command].concat());
    stage.play("call", "ready");
    let finding = finds_where(stage, "handler_waits_backend", "certain", |finding| {
        is_at(finding, file, line)
    });
    let headline = finding["headline"].as_str().unwrap();
    assert!(headline.contains("has the request"), "{finding:#}");
    assert_eq!(finding["server_says"]["waits_for"], "handler", "{finding:#}");
    finding
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Regression: of a worker only "the handler has not answered: it waits for something itself" was said.
#[test]
fn a_worker_in_php_that_sleeps_is_named_with_its_line() {
    let Some(php) = find_for_all("php", "php-cli") else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        let worker = script(
            &stage,
            "worker.php",
            "<?php\nwhile (($line = fgets(STDIN)) !== false) {\n    answer($line);\n}\n\
             function answer(string $line): void\n{\n    sleep(3600);\n}\n",
        );
        let command = [text(&php), text(&worker)];
        let finding = hangs_at(&mut stage, &["--workers", "2"], &command, "worker.php", 7);
        assert!(finding["server_says"]["behind"]["pid"].is_u64(), "{finding:#}");

        let output = stage.why(&[&stage.place.socket]);
        let screen = String::from_utf8(output.stdout).unwrap();
        assert!(screen.contains("worker.php:7, sleep() (PHP)"), "{screen}");
        assert!(screen.contains("has the request, and sleeps"), "{screen}");
    }
}

#[test]
fn a_worker_in_python_that_waits_for_a_server_is_followed_to_that() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        let behind = stage.path("behind");
        stage.play_at("serve-sleep", &[&behind], "listening");
        let worker = script(
            &stage,
            "worker.py",
            "import socket, sys\nfor line in sys.stdin:\n    server = socket.socket(socket.AF_UNIX)\n    \
             server.connect(sys.argv[1])\n    server.sendall(b'ask\\n')\n    server.recv(100)\n",
        );
        let command = [text(&python), text(&worker), text(&behind)];
        stage.serve(&[&LONG[..], &["--workers", "1", "--"], &command].concat());
        stage.play("call", "ready");
        let sleeper = stage.player(0).pid();
        let finding = finds_where(&stage, "handler_waits_backend", "certain", |finding| {
            finding["chain"][1]["pid"] == sleeper && finding["chain"][0]["at"]["line"] == 6
        });
        let facts = finding["because"].to_string();
        assert!(facts.contains(&format!("[{sleeper}] sleeps")), "{finding:#}");

        // The only worker has that request, and the next has to wait for it.
        stage.play("call", "ready");
        let waits = await_some("the client that waits for a worker", || {
            let (_, object) = look(&stage, &[&stage.place.socket]);
            let found = object["findings"].as_array()?.iter().find(|one| {
                one["server_says"]["behind"] == "place"
                    && one["chain"].to_string().contains(&format!("\"pid\":{sleeper}"))
            });
            found.cloned()
        });
        assert_eq!(
            (waits["code"].as_str(), &waits["fault"]),
            (Some("handler_waits_backend"), &Value::Bool(true))
        );
        let headline = waits["headline"].as_str().unwrap();
        assert!(headline.contains("its only worker has another request"), "{waits:#}");
    }
}

const GO_WORKER: &str = "package main

import (
\t\"bufio\"
\t\"os\"
\t\"time\"
)

func main() {
\tfor scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
\t\tanswer(scanner.Text())
\t}
}

func answer(line string) {
\ttime.Sleep(time.Hour)
}
";

#[test]
fn a_worker_in_go_that_sleeps_is_named_with_its_line() {
    if missing("go", "golang-go") {
        return;
    }
    let mut stage = Stage::new(User::Me);
    let source = script(&stage, "worker.go", GO_WORKER);
    let worker = shared(&build(&source, "sleepy-worker"));
    hangs_at(&mut stage, &["--workers", "1"], &[text(&worker)], "worker.go", 16);
}

#[test]
fn a_program_that_waits_for_its_child_is_followed_to_that() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        let child = script(&stage, "child.py", "import time\n\ntime.sleep(3600)\n");
        let lines =
            format!("#!/bin/sh\nread line\n{} {}\necho done\n", text(&python), text(&child));
        let program = script(&stage, "answer.sh", &lines);
        let finding = hangs_at(&mut stage, &[], &[text(&program)], "child.py", 3);
        let facts = finding["because"].to_string();
        assert!(facts.contains("waits for its child process"), "{finding:#}");
        assert_eq!(finding["chain"].as_array().unwrap().len(), 2, "{finding:#}");
    }
}

#[test]
fn behind_a_front_the_line_of_the_server_is_named() {
    let Some(python) = find_for_all("python3", "python3") else { return };
    for user in users() {
        let mut stage = Stage::new(*user);
        let behind = stage.path("behind");
        let server = script(
            &stage,
            "server.py",
            "import socket, sys, time\nlistener = socket.socket(socket.AF_UNIX)\n\
             listener.bind(sys.argv[1])\nlistener.listen()\nprint('ready', flush=True)\n\
             client, _ = listener.accept()\nclient.recv(100)\ntime.sleep(3600)\n",
        );
        stage.run(&python, &[&server, &behind]);
        stage.serve(&[&LONG[..], &["--to", text(&behind)]].concat());
        // A client of which the front waits for nothing: what the other waits for is known all the same.
        stage.play("call-mute", "ready");
        stage.play("call", "ready");
        let found = await_some("the line behind the front", || {
            let (_, object) = look(&stage, &[&stage.place.socket]);
            let all = object["findings"].as_array()?.iter();
            all.clone().find(|one| one["code"] == "handler_waits_backend").cloned()
        });
        assert!(is_at(&found, "server.py", 8), "{found:#}");
        assert_eq!(
            (&found["certainty"], &found["fault"]),
            (&Value::from("certain"), &Value::Bool(true))
        );
        assert!(found["server_says"]["behind"]["fd"].is_u64(), "{found:#}");
    }
}

#[test]
fn behind_a_front_the_handler_of_a_go_server_is_named() {
    let Some(program) = super::go::program() else { return };
    let mut stage = Stage::new(User::Me);
    let behind = stage.path("behind");
    stage.run(program, &["forget".as_ref(), behind.as_os_str()]);
    stage.serve(&[&LONG[..], &["--reply-ends", "close", "--to", text(&behind)]].concat());
    stage.play("call", "ready");
    let finding = suspects_where(&stage, "handler_waits_backend", "certain", |finding| {
        finding["because"].to_string().contains("forgot to close it: the end of the chain")
    });
    assert_eq!(finding["fault"], true, "{finding:#}");
}

/// Regression: of a server with one connection that is kept for the next request, nothing was believed.
#[test]
fn a_server_that_keeps_a_connection_is_believed_of_the_others() {
    let mut stage = Stage::new(User::Me);
    stage.serve(&[&LONG[..], &["--wire", "lines", "--", "sleep", "3600"]].concat());
    let kept = std::os::unix::net::UnixStream::connect(&stage.place.socket).unwrap();
    stage.play("call", "ready");
    let found = await_some("the one that asked", || {
        let (_, object) = look(&stage, &[&stage.place.socket]);
        let all = object["findings"].as_array()?.iter();
        all.clone().find(|one| one["server_says"]["behind"]["pid"].is_u64()).cloned()
    });
    assert_eq!(found["code"], "handler_waits_backend", "{found:#}");
    drop(kept);
}
