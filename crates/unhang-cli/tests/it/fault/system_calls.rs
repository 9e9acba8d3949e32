//! Every system call of an exchange fails in turn: the first, the second, and so on, until none is
//! left to fail. `strace` makes them fail, at the server as it is.
//!
//! Errors are those that the kernel may give: no EAGAIN while there are bytes or room, as the
//! server would rightly wait for it. close(2) is not among the calls: on Linux it has given the
//! descriptor back before it can fail, whereas strace would only skip it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde_json::Value;

use super::{is_answer, next_exchange, serve};
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::{missing, unable};
use crate::support::{Place, await_some};

#[test]
fn accepting() {
    every_call_fails("accept4", &["EINTR", "ECONNABORTED", "EMFILE", "ENFILE", "ENOMEM", "EPERM"]);
}

#[test]
fn asking_for_the_peer() {
    every_call_fails("getsockopt", &["ENOPROTOOPT", "ENOMEM"]);
}

#[test]
fn reading() {
    every_call_fails("recvfrom", &["EINTR", "ECONNRESET", "ENOMEM"]);
}

#[test]
fn writing() {
    every_call_fails("sendto", &["EINTR", "EPIPE", "ENOMEM"]);
}

#[test]
fn watching() {
    every_call_fails("epoll_ctl", &["ENOMEM", "ENOSPC"]);
    every_call_fails("epoll_wait", &["EINTR"]);
    // Workers make it, and no other thread does.
    if !missing("strace", "strace") {
        every_call_of_so_many_threads_fails("epoll_pwait", &["EINTR"], "1", 1);
    }
}

/// It was closed without a word: what could not be registered was gone.
#[test]
fn a_connection_that_cannot_be_watched_is_told_so() {
    if missing("strace", "strace") {
        return;
    }
    let place = Place::new();
    let server = serve(&place, &["--until", "newline"]);
    let Some(trace) = Trace::start(&server, &place, "epoll_ctl", "ENOSPC", 1) else {
        unable("a process of the same user may not be traced here (ptrace)");
        return;
    };
    let mut peer = Peer::connect(&place.socket);
    // Half a request, so that the rest has to be waited for.
    peer.write(b"hel");
    let told = b"ERR busy: the kernel has no memory left for this connection\n";
    assert_eq!(peer.read_to_end(), told);
    assert!(trace.stop(&server));
    assert_eq!(next_exchange(&server)["cause"], "busy_kernel");
    assert!(server.stop().0.success());
}

#[test]
fn closing() {
    every_call_fails("shutdown", &["ENOTCONN"]);
}

fn every_call_fails(call: &str, errors: &[&str]) {
    if missing("strace", "strace") {
        return;
    }
    // A call is failed once in each thread that makes it: the workers, the watchdog, and the thread of
    // handlers that have waited.
    every_call_of_so_many_threads_fails(call, errors, "0", 2);
    every_call_of_so_many_threads_fails(call, errors, "1", 3);
}

fn every_call_of_so_many_threads_fails(call: &str, errors: &[&str], workers: &str, threads: usize) {
    let place = Place::new();
    let arguments = ["--until", "newline", "--max-request", "64B", "--threads", workers];
    let server = serve(&place, &arguments);
    let all_get_what_is_due = || {
        assert_eq!(scene(&place.socket), 0);
        assert_eq!(ends_other_than_due(&server), 0);
    };
    all_get_what_is_due();
    let baseline = server.descriptors_at_rest();
    for error in errors {
        let (mut n, mut in_vain) = (0, 0);
        loop {
            n += 1;
            eprintln!("{workers} workers: {call} fails with {error} at its call number {n}");
            let Some(trace) = Trace::start(&server, &place, call, error, n) else {
                unable("a process of the same user may not be traced here (ptrace)");
                return;
            };
            // One failure is one client's, at most.
            assert!(scene(&place.socket) <= threads);
            let failed = trace.stop(&server);
            assert!(ends_other_than_due(&server) <= threads);
            all_get_what_is_due();
            await_some("its descriptors are back where they were", || {
                (server.descriptors() == baseline).then_some(())
            });
            if failed {
                continue;
            }
            // A server that was held up may have found everything there, and waited for nobody.
            if n > 1 || in_vain == 10 {
                break;
            }
            (n, in_vain) = (0, in_vain + 1);
        }
        assert!(n > 1, "no {call} was there to fail");
    }
    assert!(server.stop().0.success());
}

/// Each client of a scene has its line in the log, failure or not. Gives how many of the lines say
/// that there was one.
fn ends_other_than_due(server: &Daemon) -> usize {
    let lines = [(); 3].map(|()| next_exchange(server));
    let is_due = |line: &&Value| {
        line["ended"] == "answered" || line["why"] == "the request is longer than 64 bytes"
    };
    3 - lines.iter().filter(is_due).count()
}

/// Three clients, which together need every call: one whose request comes in pieces, one that is
/// served meanwhile, and one that sends too much and is waited for after its answer. Gives how many
/// of them did not get what was due to them.
fn scene(path: &Path) -> usize {
    let mut slow = Peer::connect(path);
    let mut quick = Peer::connect(path);
    // If its connection failed, the server has closed it already.
    let _ = quick.try_write(b"hello\n");
    let quick = end(&mut quick);
    let _ = slow.try_write(b"hel");
    let mut long = Peer::connect(path);
    let _ = long.try_write(&[b'x'; 100]);
    let long = end(&mut long);
    let _ = slow.try_write(b"lo\n");
    let slow = end(&mut slow);

    let too_long = long == Some(b"ERR the request is longer than 64 bytes\n".to_vec());
    let answered = |end: Option<Vec<u8>>| end.is_some_and(|reply| is_answer(&reply));
    [answered(quick), answered(slow), too_long].into_iter().filter(|due| !due).count()
}

/// What a client got: all of an answer, all of an error line, or nothing; or `None`, for a reset.
/// Anything else fails the test, a wait without an end before all.
fn end(peer: &mut Peer) -> Option<Vec<u8>> {
    let (reply, end) = peer.try_read_to_end();
    let shown = reply.escape_ascii().to_string();
    let error_line = reply.starts_with(b"ERR ") && reply.ends_with(b"\n");
    assert!(reply.is_empty() || is_answer(&reply) || error_line, "{shown}");
    match end {
        Ok(()) => Some(reply),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error} after {shown:?}"),
    }
}

/// `strace` at work on a server.
struct Trace {
    strace: Daemon,
    seen: PathBuf,
}

impl Trace {
    /// From here on the call number `n` of every thread fails; or nothing, if a server may not
    /// be traced.
    fn start(server: &Daemon, place: &Place, call: &str, error: &str, n: usize) -> Option<Self> {
        let seen = place.directory.path().join("trace");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec strace \"$@\" 2>&1",
            "sh",
            "-f",
            "-p",
            &server.pid().to_string(),
        ]);
        command.args(["-e", &format!("trace={call}")]);
        command.args(["-e", &format!("inject={call}:error={error}:when={n}")]);
        let strace = Daemon::spawn(command.arg("-o").arg(&seen));
        let attached = strace.await_line("attach").contains("attached");
        attached.then_some(Self { strace, seen })
    }

    /// Lets the server go, and gives whether there was a call to fail. Not in the midst of one: that
    /// would fail with ENOSYS, as strace has put no call in its place.
    fn stop(self, server: &Daemon) -> bool {
        server.await_idle();
        self.strace.stop();
        fs::read_to_string(&self.seen).unwrap().contains("(INJECTED)")
    }
}
