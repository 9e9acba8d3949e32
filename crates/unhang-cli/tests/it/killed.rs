//! SIGKILL at every step of a server's life: no connected client hangs, and the next start on
//! the same path serves at once.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::{find, skip};
use crate::support::{PATIENCE, Place, UNHANG, await_some};

/// The system calls by which a server changes what others see, or learns of them.
const STEPS: [&str; 18] = [
    "flock",
    "socket",
    "socketpair",
    "fchmod",
    "bind",
    "chmod",
    "listen",
    "connect",
    "clone3",
    "epoll_ctl",
    "accept4",
    "recvfrom",
    "recvmsg",
    "sendto",
    "shutdown",
    "unlink",
    "write",
    "exit_group",
];

/// More calls of one kind in so short a life would be a test that does not end.
const MOST: u32 = 100;

#[test]
fn killed_at_any_step_from_start_to_stop_it_can_be_started_again() {
    if cannot_trace() {
        return;
    }
    at_every_step("bind", |step, when| {
        let place = Place::new();
        let mut server = traced(step, when, &place, &["--until", "newline"]);
        let status = live(&mut server, &place);
        serves_again(&place, &[]);
        status
    });
}

#[test]
fn killed_at_any_step_of_replacing_another_it_leaves_that_one_or_a_free_way() {
    if cannot_trace() {
        return;
    }
    at_every_step("recvmsg", |step, when| {
        let place = Place::new();
        let _old = Daemon::serve(&place.socket, &["--until", "newline"]);
        let mut server = traced(step, when, &place, &["--until", "newline", "--replace"]);
        // A client that asks before that is answered by the other one, and would learn nothing.
        server.says("listening");
        let status = live(&mut server, &place);
        serves_again(&place, &["--replace"]);
        status
    });
}

/// Runs a life that is cut at the first call of a kind, at the second, and so on until it survives;
/// for every kind.
fn at_every_step(surely: &str, mut life: impl FnMut(&str, u32) -> ExitStatus) {
    for step in STEPS {
        let survived = (1..MOST).find(|&when| {
            let status = life(step, when);
            let killed = status.signal() == Some(Signal::KILL.as_raw());
            assert!(killed || status.success(), "{step} {when}: {status}");
            !killed
        });
        let survived =
            survived.unwrap_or_else(|| panic!("it makes more calls of {step} than {MOST}"));
        assert!(step != surely || survived > 1, "nothing was killed: is {step} still called?");
    }
}

/// `unhang serve`, killed on its way into a system call. With -D it is our child, and strace its own.
fn traced(step: &str, when: u32, place: &Place, arguments: &[&str]) -> Daemon {
    let inject = format!("inject={step}:signal=KILL:when={when}");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &inject, UNHANG, "serve"]);
    Daemon::spawn(command.arg(&place.socket).args(arguments))
}

/// Is connected to as soon as that goes, asked, and stopped with a request under way, unless it is
/// killed before.
fn live(server: &mut Daemon, place: &Place) -> ExitStatus {
    let knock = || UnixStream::connect(&place.socket).ok();
    let mut ended = None;
    let connected = await_some("it serves, or has ended", || {
        ended = server.try_wait();
        knock().map(Some).or(ended.map(|_| None))
    });
    let mut first = connected.map(|stream| under_way(stream, b"hello\n"));
    if let Some(first) = &mut first {
        ends(first);
    }
    let mut second = knock().map(|stream| under_way(stream, b"hel"));
    if let Some(status) = ended {
        return status;
    }
    server.signal(Signal::TERM);
    if let Some(second) = &mut second {
        let _ = second.write_all(b"lo\n");
        ends(second);
    }
    server.wait()
}

fn under_way(mut stream: UnixStream, bytes: &[u8]) -> UnixStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Whose server was killed meanwhile gets EPIPE.
    let _ = stream.write_all(bytes);
    stream
}

/// Reads to the end: after an answer or not, an end or a reset; but it comes.
fn ends(stream: &mut UnixStream) {
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "a client was left hanging: {error}");
    }
}

fn serves_again(place: &Place, arguments: &[&str]) {
    let _next = Daemon::serve(&place.socket, arguments);
    assert!(Peer::ask(&place.socket, b"hello\n").starts_with(b"OK+ at "));
}

fn cannot_trace() -> bool {
    let traces = || {
        let mut command = Command::new("strace");
        command.args(["-D", "-o", "/dev/null", "true"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let can = find("strace").is_some() && traces();
    if !can {
        skip("strace is not installed, or may not trace here", "strace");
    }
    !can
}
