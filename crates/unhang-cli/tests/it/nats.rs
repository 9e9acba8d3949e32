//! `unhang serve PATH --to nats://…`, `unhang serve nats://…` and `unhang call nats://…`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Signal;

use crate::metrics::{free_address, scrape};
use crate::support::daemon::Daemon;
use crate::support::{Place, UNHANG, await_some, root};

/// A nats-server on a port that the kernel chose.
struct Node {
    child: Child,
    service: String,
}

impl Node {
    fn start() -> Self {
        let debian = "/usr/sbin/nats-server";
        let program = if Path::new(debian).exists() { debian } else { "nats-server" };
        let mut child = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", "-1"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("apt-get install nats-server");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let listening = "Listening for client connections on ";
        let line = lines.by_ref().find(|line| line.contains(listening)).expect("it listens");
        let (_, address) = line.split_once(listening).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, service: format!("nats://{address}/app") }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn call(target: impl AsRef<std::ffi::OsStr>, message: &str) -> Output {
    let mut command = Command::new(UNHANG);
    command.arg("call").arg(target).args([message, "--deadline", "30s"]);
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Serves, and has said that it does and so often that it is connected, in whichever order.
fn serve(arguments: &[&str], connections: usize) -> Daemon {
    let daemon = Daemon::spawn(Command::new(UNHANG).arg("serve").args(arguments));
    let (mut serves, mut connected) = (false, 0);
    while !serves || connected < connections {
        let line = daemon.await_line("");
        connected += usize::from(line.contains("nats-server 2"));
        serves |= line.contains("listening") || line.contains("serving");
    }
    daemon
}

/// A value of a JSON line.
fn value(line: &str, name: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    value[name].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_page_asks_its_local_socket_and_workers_elsewhere_answer() {
    let (node, place) = (Node::start(), Place::new());
    let worker = root().join("examples/workers/worker.sh");
    let (metrics, door_metrics) = (free_address(), free_address());
    let service = serve(
        &[
            &node.service,
            "--log",
            "json",
            "--metrics",
            &metrics,
            "--workers",
            "2",
            "--",
            "bash",
            worker.to_str().unwrap(),
        ],
        2,
    );
    let socket = place.socket.to_str().unwrap();
    let door =
        serve(&[socket, "--to", &node.service, "--log", "json", "--metrics", &door_metrics], 2);
    let answer = call(&place.socket, "hello");
    assert_eq!(
        (text(&answer.stdout), answer.status.code()),
        ("HELLO\n".into(), Some(0)),
        "{answer:?}"
    );
    let direct = call(&node.service, "direct");
    assert_eq!(
        (text(&direct.stdout), direct.status.code()),
        ("DIRECT\n".into(), Some(0)),
        "{direct:?}"
    );

    // The same id in both logs.
    let asked = door.await_line("\"event\":\"call\"");
    let served = service.await_line("\"event\":\"call\"");
    assert_eq!(value(&asked, "id"), value(&served, "id"));
    assert_eq!(value(&asked, "id").len(), 32);

    for (address, least) in [(&metrics, 2.0), (&door_metrics, 1.0)] {
        let seen = scrape(address);
        let answered = seen["unhang_nats_outcomes_total{outcome=\"answered\"}"];
        assert!(answered >= least, "{seen:?}");
        let connected =
            seen.keys().filter(|name| name.starts_with("unhang_nats_connected{")).count();
        assert_eq!(connected, 2, "{seen:?}");
    }

    // A stop in good order, and then the door says that there is no worker.
    let (status, lines) = service.stop();
    assert!(
        status.success() && lines.iter().any(|line| line.contains("\"event\":\"stopped\"")),
        "{lines:?}"
    );
    let answer = call(&place.socket, "hello");
    assert_eq!(text(&answer.stdout), "ERR no worker for unhang.v1.app; the request did not run\n");
    let (status, _) = door.stop();
    assert!(status.success());
}

/// SIGTERM while a program is at work: it is answered first.
#[test]
fn a_service_that_is_stopped_answers_what_it_has() {
    let (node, place) = (Node::start(), Place::new());
    let flag = place.directory.path().join("runs");
    let script = format!("echo > {}; sleep 1; cat", flag.display());
    let service = serve(&[&node.service, "--", "sh", "-c", &script], 2);
    let target = node.service.clone();
    let caller = std::thread::spawn(move || call(target, "work"));
    await_some("the program runs", || flag.exists().then_some(()));
    let (status, lines) = service.stop();
    assert!(status.success(), "{lines:?}");
    let answer = caller.join().unwrap();
    assert_eq!(
        (text(&answer.stdout), answer.status.code()),
        ("work".into(), Some(0)),
        "{answer:?}"
    );
}

#[test]
fn a_front_on_another_machine_passes_calls_to_a_server_there() {
    let (node, place) = (Node::start(), Place::new());
    let _behind = Daemon::serve(&place.socket, &["--", "cat"]);
    let _service = serve(&[&node.service, "--to", place.socket.to_str().unwrap()], 2);
    let answer = call(&node.service, "through\n");
    assert_eq!(text(&answer.stdout), "through\n", "{answer:?}");
}

/// A service's own refusal is an answer, as on a socket.
#[test]
fn what_a_service_cannot_do_is_told() {
    let node = Node::start();
    let _service = serve(&[&node.service, "--", "sh", "-c", "exit 3"], 2);
    let answer = call(&node.service, "x");
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    assert_eq!(text(&answer.stdout), "ERR the program ended with exit code 3\n");
}

#[test]
fn without_a_node_it_is_said_and_nobody_hangs() {
    let place = Place::new();
    let nowhere = format!("nats://{}/app", free_address());
    let door = Daemon::serve(&place.socket, &["--to", &nowhere]);
    let answer = call(&place.socket, "x");
    let said = text(&answer.stdout);
    assert!(
        said.starts_with("ERR not connected to NATS") && said.ends_with("did not run\n"),
        "{said}"
    );
    door.signal(Signal::TERM);
    let answer = call(&nowhere, "x");
    assert_eq!(answer.status.code(), Some(3), "{answer:?}");
    assert!(text(&answer.stderr).contains("Connection refused"), "{answer:?}");
}

/// Each says what was expected, and is said before anything listens.
#[test]
fn what_makes_no_sense_is_refused_with_advice() {
    let place = Place::new();
    let socket = place.socket.to_str().unwrap();
    let (service, other) = ("nats://127.0.0.1:1/app", "nats://127.0.0.1:1/other");
    for (arguments, part) in [
        (&["serve", "nats://n1", "--", "cat"][..], "no name of a service"),
        (&["serve", socket, "--to", "nats://n1/a.b"], "the service \"a.b\""),
        (&["serve", service, "--to", other], "nats:// on both sides"),
        (&["serve", service, "--replace", "--", "cat"], "--replace for a service behind NATS"),
        (&["serve", service, "--mode", "0600", "--", "cat"], "--mode for a service behind NATS"),
        (&["serve", service, "--wire", "http", "--", "cat"], "--wire for a service behind NATS"),
        (&["serve", service, "--allow-uid", "0", "--", "cat"], "--allow-uid for a service"),
        (&["serve", socket, "--places", "3", "--", "cat"], "--places goes with nats:// alone"),
        (&["serve", socket, "--to", service, "--places", "3"], "--places is for serve nats://"),
        (&["serve", socket, "--to", "/x", "--idempotent"], "--idempotent goes with nats:// alone"),
        (&["serve", socket, "--nats-creds", "/x", "--", "cat"], "--nats-creds goes with nats://"),
        (&["serve", socket, "--to", service, "--nats-creds", "/none"], "/none: cannot be read"),
        (&["serve", socket, "--to", service, "--nats-ca", "/dev/null"], "expected certificates"),
        (&["call", service, "x", "--wire", "http"], "are for sockets"),
        (&["call", socket, "x", "--nats-ca", "/x"], "go with nats:// alone"),
        (&["call", "nats://a b/c", "x"], "no HOST or HOST:PORT"),
    ] {
        let done = Command::new(UNHANG).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {done:?}");
        assert!(text(&done.stderr).contains(part), "{arguments:?}: {done:?}");
    }
    assert!(!place.socket.exists());
}

/// Regression: `unhang why` said of a door that it waits for something itself, and not which machine's worker that is,
/// nor what that does.
#[test]
fn why_at_a_door_names_the_worker_and_says_what_it_does_there() {
    let (node, place) = (Node::start(), Place::new());
    let long = ["--handler-deadline", "10m"];
    let worker = ["--workers", "1", "--", "sh", "-c", "while read line; do sleep 3600; done"];
    let service = serve(&[&[&*node.service, "--log", "json"], &long[..], &worker[..]].concat(), 2);
    let socket = place.socket.to_str().unwrap();
    let accept = ["--accept-deadline", "10s"];
    let door = serve(&[&[socket, "--to", &node.service], &long[..], &accept[..]].concat(), 2);
    let mut caller = Command::new(UNHANG)
        .args(["call", socket, "hello", "--deadline", "10m"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = await_some("why names the worker, and what it waits for", || {
        let mut why = Command::new(UNHANG);
        let output = why.args(["why", "--deadline", "20s", socket]).output().unwrap();
        let said = text(&output.stdout);
        (said.contains("has had it for") && said.contains("sleep[")).then_some(said)
    });
    let _ = caller.kill();
    let _ = caller.wait();
    assert!(said.starts_with("HUNG"), "{said}");
    let pid = service.pid();
    assert!(
        said.contains(&format!("-{pid}-")),
        "the worker's name has the service's process: {said}"
    );
    assert!(said.contains("there process ") && said.contains("sh["), "{said}");
    door.stop();
    drop(service);
}
