//! The words that several verdicts share.

use std::time::Duration;

use super::finding::{End, Held};
use crate::cmd::why::endpoint::{Endpoint, WaitingThread};
use crate::cmd::why::facts::{Activity, Blocked, Facts};
use crate::cmd::why::see::process::Process;
use crate::cmd::why::see::process::call::Call;
use crate::cmd::why::see::process::thread::Thread;
use crate::sock_diag::State;

/// Where facts come from, as `-v` names it.
pub(super) mod source {
    pub(crate) const DIAG: &str = "sock_diag";
    pub(crate) const CALL: &str = "/proc/PID/task/TID/syscall";
    pub(crate) const EPOLL: &str = "/proc/PID/fdinfo";
    pub(crate) const STAT: &str = "/proc/PID/stat";
    pub(crate) const SCHED: &str = "/proc/PID/task/TID/sched";
    pub(crate) const DESCRIPTORS: &str = "/proc/PID/fd";
    pub(crate) const CGROUP: &str = "/sys/fs/cgroup";
    pub(crate) const LIMITS: &str = "/proc/PID/limits";
    pub(crate) const FILE: &str = "stat()";
    pub(crate) const PROBE: &str = "connect() by a datagram socket";
    pub(crate) const PEER: &str = "getpeername() on a duplicate of its descriptor";
    pub(crate) const LISTENED: &str = "SO_PEERCRED on a duplicate of its descriptor";
    /// Where a server of ours tells what it waits for.
    pub(crate) const CONTROL: &str = "PATH.ctl";
    /// A worker on another machine, asked by the server here.
    pub(crate) const WORKER: &str = "its own word, over NATS";
    pub(crate) const GO: &str = "/proc/PID/mem (Go)";
}

/// A process as in `php[900]`.
pub(crate) fn who(process: &Process) -> String {
    format!("{}[{}]", process.name, process.pid)
}

/// All owners of an end, or what is known when none is seen.
pub(super) fn owners(endpoint: &Endpoint<'_>) -> String {
    let names: Vec<_> = endpoint.processes().map(who).collect();
    match (names.is_empty(), endpoint.socket.uid) {
        (false, _) => names.join(", "),
        (true, Some(uid)) if endpoint.is_hidden => format!("a process of uid {uid}"),
        (true, _) if endpoint.is_hidden => "a process of another user".to_owned(),
        (true, _) => "no process".to_owned(),
    }
}

/// A time that somebody has waited, as coarse as one would say it.
pub(crate) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// ` for 12s`, if that is known.
pub(super) fn lasting(since: Option<Duration>) -> String {
    since.map_or(String::new(), |since| format!(" for {}", age(since)))
}

pub(super) fn bytes(count: u32) -> String {
    format!("{count} B")
}

/// What the owners of an end do about it, what they wait for, and since when.
pub(super) fn does(endpoint: &Endpoint<'_>) -> (String, Option<&'static str>, Option<Duration>) {
    let since =
        |waiters: &[WaitingThread<'_>]| waiters.iter().filter_map(|one| one.thread.since).max();
    if endpoint.is_stopped() {
        return ("is stopped".to_owned(), None, None);
    }
    if !endpoint.writers.is_empty() {
        let since = since(&endpoint.writers);
        return (format!("waits to write{}", lasting(since)), Some("write"), since);
    }
    if !endpoint.readers.is_empty() {
        let since = since(&endpoint.readers);
        return (format!("waits to read{}", lasting(since)), Some("read"), since);
    }
    if let Some(one) = endpoint.sleeping_loops().next() {
        let since = one.sleeper.and_then(|sleeper| sleeper.thread.since);
        let names = one.registration.names();
        let waits = one.registration.reads().then_some("read");
        return (
            format!("its event loop sleeps{}, watching this for {names}", lasting(since)),
            waits,
            since,
        );
    }
    if endpoint.is_hidden {
        return ("what it does may not be seen".to_owned(), None, None);
    }
    if endpoint.is_unheld() {
        return ("nobody holds it".to_owned(), None, None);
    }
    let does = match endpoint.others.only() {
        Some(only) => thread_does(&only),
        None => {
            format!("none of its {} threads waits for it", endpoint.others.iter().count())
        }
    };
    (does, None, None)
}

/// What one thread does.
pub(super) fn thread_does(waiter: &WaitingThread<'_>) -> String {
    if matches!(waiter.thread.state, 'T' | 't') {
        return "is stopped".to_owned();
    }
    let lasting = lasting(waiter.thread.since);
    match waiter.activity {
        Activity::Computing => "computes without a pause".to_owned(),
        Activity::Starved => "wants a processor".to_owned(),
        Activity::Moving => "is at work".to_owned(),
        Activity::Still | Activity::Ticking => {
            format!("{}{lasting}", call(waiter.process, waiter.thread))
        }
    }
}

/// What a thread that stands still waits for.
pub(super) fn call(process: &Process, thread: &Thread) -> String {
    let on = |fd: &u32| match &thread.on {
        Some(on) => on.clone(),
        None if process.inode(*fd).is_some() => {
            format!("the socket at fd {fd}")
        }
        None => format!("fd {fd}"),
    };
    match &thread.call {
        Call::Hidden => "is in a call that may not be seen".to_owned(),
        Call::None => "runs".to_owned(),
        Call::Read(fd) => format!("waits to read {}", on(fd)),
        Call::Write(fd) => format!("waits to write to {}", on(fd)),
        Call::Accept(_) => "waits in accept()".to_owned(),
        Call::Connect(_, Some(name)) => format!("waits in connect() to {}", name_of(name)),
        Call::Connect(fd, None) => format!("waits in connect() at fd {fd}"),
        Call::Poll(_) => "waits in poll()".to_owned(),
        Call::Epoll(_) => "waits in epoll_wait() for something else".to_owned(),
        Call::Futex => "waits for a lock, or for another thread".to_owned(),
        Call::Sleep => "sleeps".to_owned(),
        Call::FileLock(fd) => format!("waits for a lock on {}", on(fd)),
        Call::Child => "waits for a child process to end".to_owned(),
        Call::Ring => "waits in io_uring, for what may not be seen".to_owned(),
        Call::Other(name) => format!("waits in {name}()"),
    }
}

/// A socket's name for people: an abstract one with @ for its NUL.
pub(crate) fn name_of(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    match text.strip_prefix('\0') {
        Some(name) => format!("@{}", name.escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// The end as the verdict shows it.
pub(super) fn end(endpoint: &Endpoint<'_>) -> End {
    let held = |(process, fd): &(&Process, u32)| Held {
        pid: process.pid,
        fd: *fd,
        name: process.name.clone(),
        uid: process.uid,
    };
    let (does, waits, since) = does(endpoint);
    End {
        inode: endpoint.socket.inode,
        cookie: endpoint.socket.cookie,
        owners: endpoint.owners.iter().map(held).collect(),
        // Of a listener, this counts clients.
        unread: match endpoint.socket.state {
            State::Listening => 0,
            _ => endpoint.socket.unread,
        },
        shut_read: endpoint.socket.shut_read,
        shut_write: endpoint.socket.shut_write,
        does,
        waits,
        since,
    }
}

/// The end of a client that is blocked in `call`, before a server has the other one.
pub(super) fn blocked_end(facts: &Facts, thread: Blocked, call: &str, waits: &'static str) -> End {
    let Blocked { pid, fd, inode, since } = thread;
    let process = facts.processes.get(&pid);
    End {
        inode,
        cookie: facts.sockets.get(&inode).map_or(0, |socket| socket.cookie),
        owners: vec![Held {
            pid,
            fd,
            name: process.map_or(String::new(), |process| process.name.clone()),
            uid: process.and_then(|process| process.uid),
        }],
        does: format!("blocked in {call}(){}", lasting(since)),
        waits: Some(waits),
        since,
        ..End::default()
    }
}
