//! Socketpairs and datagram sockets: no server, and processes that wait for one another all the same.

use std::path::PathBuf;

use serde_json::Value;

use super::{codes, look};
use crate::support::PATIENCE;
use crate::support::hang::{Stage, User, users};
use crate::support::programs::find_for_all;

fn python() -> Option<PathBuf> {
    find_for_all("python3", "python3")
}

/// What all of these begin with. `ready` is said by the process that was started.
const BEGIN: &str = "
import os, socket, sys, time
def ready():
    print('ready', flush=True)
def child(does):
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        # Nothing outlives the test.
        import ctypes
        ctypes.CDLL(None).prctl(1, 9)
        if os.getppid() == parent:
            does()
        os._exit(0)
    return pid
";

fn run(stage: &mut Stage, script: &str) -> Option<u32> {
    let program = format!("{BEGIN}{script}");
    let arguments = ["-c", &program, stage.place.socket.to_str().unwrap()].map(str::to_owned);
    Some(stage.run(&python()?, &arguments).pid())
}

/// Looks at the process until it finds exactly this.
fn finds(stage: &Stage, pid: u32, code: &str, certainty: &str) -> Value {
    let (mut last, began) = (Value::Null, std::time::Instant::now());
    while began.elapsed() < PATIENCE {
        let (exit, object) = look(stage, &[pid.to_string()]);
        if codes(&object) == [(code, certainty)] {
            let finding = object["findings"][0].clone();
            assert_eq!(exit, i32::from(finding["fault"] == true), "{object:#}");
            return finding;
        }
        last = object;
    }
    panic!("expected {code}, {certainty}; found {last:#}");
}

/// It was `OK`: the parent waits for what its worker does not even read.
#[test]
fn a_job_that_its_worker_does_not_read_was_passed_over() {
    for user in users() {
        for kind in ["STREAM", "DGRAM", "SEQPACKET"] {
            let mut stage = Stage::new(*user);
            let script = format!(
                "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_{kind})
child(lambda: (a.close(), time.sleep(1000)))
b.close(); a.sendall(b'a job'); ready(); a.recv(9)"
            );
            let Some(pid) = run(&mut stage, &script) else { return };
            let finding = finds(&stage, pid, "request_unread", "certain");
            assert_eq!(finding["fault"], true, "{kind}: {finding:#}");
            assert_eq!(finding["clients"][0]["owners"][0]["pid"], pid, "{finding:#}");
            assert!(finding["because"].to_string().contains("sleeps"), "{finding:#}");
            assert_eq!(finding["now"], serde_json::json!([]), "{finding:#}");
        }
    }
}

/// It was `OK`: each waits for the other's word, and nobody is left to say one.
#[test]
fn two_processes_that_wait_for_one_another_and_nothing_else_are_a_deadlock() {
    let mut stage = Stage::new(User::Me);
    let script = "a, b = socket.socketpair()
child(lambda: (a.close(), b.recv(9)))
b.close(); ready(); a.recv(9)";
    let Some(pid) = run(&mut stage, script) else { return };
    let finding = finds(&stage, pid, "both_waiting", "likely");
    assert!(finding["headline"].as_str().unwrap().starts_with("deadlock: "), "{finding:#}");
    assert_eq!(finding["fault"], true, "{finding:#}");
}

/// It was `OK`: the worker has died, and its brother keeps the parent waiting without knowing it.
#[test]
fn a_dead_workers_end_is_with_its_brother() {
    let mut stage = Stage::new(User::Me);
    let script = "a, b = socket.socketpair()
c, d = socket.socketpair()
dead = child(lambda: None)
child(lambda: (a.close(), c.close(), d.recv(9)))
b.close(); d.close(); os.waitpid(dead, 0); ready(); a.recv(9)";
    let Some(pid) = run(&mut stage, script) else { return };
    // The brother waits for the parent on purpose; what it inherited is the fault.
    let (mut found, began) = (Value::Null, std::time::Instant::now());
    while found["code"] != "fd_leaked" && began.elapsed() < PATIENCE {
        found = look(&stage, &[pid.to_string()]).1["findings"][0].clone();
    }
    assert_eq!(found["code"], "fd_leaked", "{found:#}");
    assert!(found["headline"].as_str().unwrap().contains("has ended"), "{found:#}");
    assert!(found["fix"].to_string().contains("SOCK_CLOEXEC"), "{found:#}");
}

#[test]
fn a_sender_that_its_reader_has_stopped_reading_is_told() {
    let mut stage = Stage::new(User::Me);
    let script = "a, b = socket.socketpair()
child(lambda: (a.close(), time.sleep(1000)))
b.close(); ready(); a.sendall(b'x' * 4_000_000)";
    let Some(pid) = run(&mut stage, script) else { return };
    finds(&stage, pid, "client_not_reading", "certain");
}

/// A worker waits for its next job, and its parent for something else: on purpose, as far as anybody can tell.
#[test]
fn workers_that_wait_for_their_next_job_hang_nobody() {
    for parent in ["time.sleep(1000)", "sys.stdin.read()", "socket.socketpair()[0].recv(9)"] {
        let mut stage = Stage::new(User::Me);
        let script = format!(
            "pairs = [socket.socketpair() for _ in range(3)]
for a, b in pairs:
    child(lambda: b.recv(9))
for _, b in pairs:
    b.close()
r, w = os.pipe(); os.dup2(r, 0)
ready(); {parent}"
        );
        let Some(pid) = run(&mut stage, &script) else { return };
        for _ in 0..3 {
            let (exit, object) = look(&stage, &[pid.to_string()]);
            assert_eq!(
                (exit, codes(&object)),
                (0, vec![("ok", "certain")]),
                "{parent}: {object:#}"
            );
        }
    }
}

/// Every JVM with a `ServerSocketChannel` has one, and so has sshd for each login.
#[test]
fn one_end_of_a_pair_that_is_kept_is_no_fault() {
    let mut stage = Stage::new(User::Me);
    let script = "a, b = socket.socketpair(); b.close(); ready(); time.sleep(1000)";
    let Some(pid) = run(&mut stage, script) else { return };
    let (exit, object) = look(&stage, &[pid.to_string()]);
    assert_eq!((exit, codes(&object)), (0, vec![("ok", "certain")]), "{object:#}");
}

/// A socket that is not judged is reported so, and not counted as well.
#[test]
fn a_pair_within_one_process_is_said_not_to_be_judged() {
    let mut stage = Stage::new(User::Me);
    let script = "a, b = socket.socketpair(); a.send(b'x'); ready(); time.sleep(1000)";
    let Some(pid) = run(&mut stage, script) else { return };
    let (_, object) = look(&stage, &[pid.to_string()]);
    let headline = object["findings"][0]["headline"].as_str().unwrap();
    assert!(headline.contains("1 socketpairs within one process are not judged"), "{object:#}");
}

/// A datagram socket at the stage's path, read by a process that does `then`, with a full queue and senders.
fn full_queue(stage: &mut Stage, then: &str, sender: &str) -> Option<u32> {
    let script = format!(
        "path = sys.argv[1]
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind(path)
os.chmod(path, 0o777)
def send():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.close()
    {sender}
child(send)
ready()
{then}"
    );
    run(stage, &script)
}

const CONNECTED: &str = "s.connect(path)\n    while True: s.send(b'a message')";
const NAMED: &str = "while True: s.sendto(b'a message', path)";

/// It was `other_type`, and by the process's number `OK`.
#[test]
fn senders_that_a_full_queue_blocks_are_told() {
    for sender in [CONNECTED, NAMED] {
        let mut stage = Stage::new(User::Me);
        let Some(pid) = full_queue(&mut stage, "time.sleep(1000)", sender) else { return };
        let finding = finds(&stage, pid, "queue_full", "certain");
        assert!(
            finding["headline"].as_str().unwrap().contains("1 sender is blocked"),
            "{finding:#}"
        );
        assert!(finding["because"].to_string().contains("sleeps"), "{finding:#}");
        let (exit, object) = look(&stage, &[&stage.place.socket]);
        let found = [("queue_full", "certain"), ("other_type", "certain")];
        assert_eq!((exit, codes(&object)), (1, found.to_vec()), "{object:#}");
    }
}

/// As of a stopped rsyslogd, where every program that logs stands still.
#[test]
fn a_receiver_that_was_stopped_is_told_with_what_continues_it() {
    let mut stage = Stage::new(User::Me);
    let then = "while True: log.recv(99)";
    let Some(pid) = full_queue(&mut stage, then, CONNECTED) else { return };
    stage.player(0).freeze();
    let finding = finds(&stage, pid, "server_stopped", "certain");
    let headline = finding["headline"].as_str().unwrap();
    assert!(headline.contains("1 sender is blocked"), "{finding:#}");
    assert_eq!(finding["now"][0], format!("kill -CONT {pid}"), "{finding:#}");
    stage.player(0).thaw();
}

/// It was DEAD.
#[test]
fn a_datagram_server_that_reads_hangs_nobody() {
    for then in ["while True: log.recv(99)", "while True: log.recv(99); time.sleep(0.001)"] {
        let mut stage = Stage::new(User::Me);
        let Some(pid) = full_queue(&mut stage, then, CONNECTED) else { return };
        for run in 0..10 {
            let (exit, object) = look(&stage, &[pid.to_string()]);
            let whole = object["not_looked_at"].as_array().is_none_or(Vec::is_empty);
            assert_eq!(codes(&object), [("ok", "certain")], "{then}, {run}: {object:#}");
            assert_eq!(exit, if whole { 0 } else { 3 }, "{object:#}");
        }
    }
}
