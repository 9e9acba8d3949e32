//! Which process is the server: the one that called `listen()` may have given the socket away.

use std::process::{Command, Stdio};

use super::{bench, ends, run, said};
use crate::support::Place;
use crate::support::daemon::Daemon;
use crate::support::programs::missing;

/// Makes the socket, leaves it to a child, and stays as something else. With `end`, it ends instead.
const GIVEN_AWAY: &str = "
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
if os.fork():
    listener.close()
    print('listening', flush=True)
    if sys.argv[2] == 'end': os._exit(0)
    os.wait()
while True:
    client, _ = listener.accept()
    client.recv(64)
    client.sendall(b'pong')
    client.close()
";

/// Gives what `--drain` says, and how it exits, when the socket was given away.
fn drained(what_then: &str) -> (String, Option<i32>) {
    let place = Place::new();
    let mut python = Command::new("python3");
    python.args(["-c", GIVEN_AWAY]).arg(&place.socket).arg(what_then);
    // The child outlives the first process, and ends with this pipe.
    python.stderr(Stdio::null());
    let server = Daemon::start(&mut python, "listening");
    let child = child_of(&place, server.pid());
    let output = run(&place.socket, &["--drain", "2", "--rounds", "1", "--warm-up", "0s"]);
    // It is still served, and so nobody is stopped.
    let (report, code) = bench(&place.socket, &["--count", "3"]);
    assert_eq!((ends(&report), code), (vec![("answered", 3)], 0), "{report:#}");
    let why = report["server_unknown"].as_str().unwrap();
    assert!(why.contains("name the server by --pid"), "{why}");

    let pid = child.to_string();
    let flags = ["--drain", "2", "--rounds", "1", "--pid", &pid];
    let (report, code) = bench(&place.socket, &flags);
    assert_eq!((ends(&report), code), (vec![("answered", 2)], 0), "{report:#}");
    let child = rustix::process::Pid::from_raw(i32::try_from(child).unwrap()).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    (said(&output), output.status.code())
}

/// The process that holds the listener.
fn child_of(place: &Place, parent: u32) -> u32 {
    let mut stream = std::os::unix::net::UnixStream::connect(&place.socket).unwrap();
    std::io::Write::write_all(&mut stream, b"ping").unwrap();
    std::io::Read::read_to_end(&mut stream, &mut Vec::new()).unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().into_string().ok()?.parse().ok());
    pids.filter(|pid| *pid != parent)
        .find(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let path = place.socket.as_os_str().as_encoded_bytes();
            command.split(|byte| *byte == 0).any(|word| word == path)
        })
        .unwrap()
}

/// It was stopped, whatever else it did.
#[test]
fn a_process_that_has_given_the_socket_away_is_not_stopped() {
    if missing("python3", "python3") {
        return;
    }
    let (said, code) = drained("stay");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("does not hold it any more"), "{said}");
    assert!(!said.contains("stops the server"), "{said}");
}

/// By then its number may be another's.
#[test]
fn nor_is_one_that_has_its_number() {
    if missing("python3", "python3") {
        return;
    }
    let (said, code) = drained("end");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("name the server by --pid"), "{said}");
    assert!(!said.contains("stops the server"), "{said}");
}
