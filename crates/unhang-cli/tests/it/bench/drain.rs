//! `--drain` stops a server. It must not stay so, whatever becomes of the command.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{bench, command, ends, run, said};
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::missing;
use crate::support::{Place, await_some};

#[test]
fn rounds_are_counted_and_the_server_goes_on_after_them() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    let (report, code) = bench(&place.socket, &["--drain", "50", "--rounds", "4"]);
    assert_eq!((ends(&report), code), (vec![("answered", 200)], 0), "{report:#}");
    assert_eq!(report["mode"], "drain");
    assert_eq!(report["drain"]["rounds"].as_array().unwrap().len(), 4);
    for name in ["cpu_ns_per_exchange", "time_ns_per_exchange"] {
        let value = |which: &str| report["drain"][name][which].as_u64().unwrap();
        let (min, median, max) = (value("min"), value("median"), value("max"));
        assert!(0 < min && min <= median && median <= max, "{report:#}");
    }
    server.await_idle();
    assert!(Peer::ask(&place.socket, b"hello").starts_with(b"OK+"));
}

#[test]
fn it_is_announced_and_shown_for_people() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    let output = run(&place.socket, &["--drain", "20", "--rounds", "2", "--warm-up", "0s"]);
    let announced = said(&output);
    let pid = server.pid().to_string();
    assert!(announced.contains("stops the server") && announced.contains(&pid), "{announced}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("in 2 rounds of 20"), "{table}");
}

#[test]
fn a_queue_that_is_too_short_is_named_with_what_it_took() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet", "--backlog", "8"]);
    let output = run(&place.socket, &["--drain", "50", "--warm-up", "0s"]);
    assert_eq!(output.status.code(), Some(1));
    // A backlog of 8 admits 9.
    assert!(said(&output).contains("it took 9: say --drain 9"), "{}", said(&output));
    server.await_idle();
    assert!(Peer::ask(&place.socket, b"hello").starts_with(b"OK+"));
}

#[test]
fn a_request_that_does_not_fit_keeps_no_server_stopped_for_the_timeout() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    let flags = ["--drain", "2", "--request-bytes", "4MiB", "--timeout", "10m", "--warm-up", "0s"];
    let mut child = command(&place.socket, &flags).stderr(Stdio::piped()).spawn().unwrap();
    await_some("it ends", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("could not send its 4194304 bytes"), "{}", said(&output));
    server.await_idle();
    assert!(Peer::ask(&place.socket, b"hello").starts_with(b"OK+"));
}

/// A process for each client, which spends 30 ms on it.
const FORKING: &str = "
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
print('listening', flush=True)
while True:
    client, _ = listener.accept()
    if child := os.fork():
        client.close()
        os.waitpid(child, 0)
    else:
        client.recv(64)
        while time.process_time() < 0.03: pass
        client.sendall(b'pong')
        os._exit(0)
";

#[test]
fn what_processes_use_that_live_for_one_client_is_counted() {
    if missing("python3", "python3") {
        return;
    }
    let place = Place::new();
    let mut python = Command::new("python3");
    python.args(["-c", FORKING]).arg(&place.socket);
    let _server = Daemon::start(&mut python, "listening");
    let (report, code) = bench(&place.socket, &["--drain", "10", "--rounds", "1"]);
    assert_eq!((ends(&report), code), (vec![("answered", 10)], 0), "{report:#}");
    let cpu = report["drain"]["rounds"][0]["cpu_ns"].as_u64().unwrap();
    // In whole ticks, and the last may not have been awaited yet.
    assert!(cpu > 200_000_000, "{report:#}");
}

#[test]
fn interrupted_in_mid_drain_it_lets_the_server_go_on_and_tells_what_it_has() {
    let (output, server, place) = end_in_mid_drain(Signal::INT);
    assert!(output.contains("interrupted"), "{output}");
    server.await_idle();
    assert!(Peer::ask(&place.socket, b"hello").starts_with(b"OK+"));
}

/// Stopped with it, the server stayed so until `fg`.
#[test]
fn ctrl_z_in_mid_drain_stops_nobody_for_good() {
    let (output, server, place) = end_in_mid_drain(Signal::TSTP);
    assert!(output.contains("interrupted"), "{output}");
    server.await_idle();
    assert!(Peer::ask(&place.socket, b"hello").starts_with(b"OK+"));
}

#[test]
fn even_killed_it_lets_the_server_go_on() {
    let (output, server, place) = end_in_mid_drain(Signal::KILL);
    assert_eq!(output, "");
    server.await_idle();
    assert!(Peer::ask(&place.socket, b"hello").starts_with(b"OK+"));
}

/// Sends it the signal when the server is stopped, and gives what it printed.
fn end_in_mid_drain(signal: Signal) -> (String, Daemon, Place) {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    let mut child = command(&place.socket, &["--drain", "1000", "--for", "10m", "--warm-up", "0s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut announced = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut announced).unwrap();
    assert!(announced.contains("stops the server"), "{announced}");
    await_some("the server is stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T').then_some(())
    });
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), server, place)
}

#[test]
fn a_server_that_dies_in_mid_drain_ends_it() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--quiet"]);
    let flags = ["--drain", "200", "--for", "10m", "--warm-up", "0s"];
    let child = command(&place.socket, &flags).stderr(Stdio::piped()).spawn().unwrap();
    let pid = server.pid();
    await_some("the server is stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T').then_some(())
    });
    drop(server);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}
