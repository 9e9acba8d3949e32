//! Nobody looks at a connection: what do its owners do instead?

use super::finding::Certainty;
use crate::cmd::why::endpoint::{Endpoint, WaitingThread};
use crate::cmd::why::facts::{Activity, Facts};
use crate::cmd::why::see::process::Process;
use crate::cmd::why::see::process::call::{Call, Watch};
use crate::sock_diag::State;

/// What keeps a server from a connection that it holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause<'a> {
    /// Nothing: every thread waits for something new. It has let go of the connection in all but
    /// the closing.
    Idle,
    Blocked(WaitingThread<'a>),
    Computing(WaitingThread<'a>),
    /// It has itself become the client of another, by the socket with this inode.
    Backend(WaitingThread<'a>, u32),
    /// The same, across a network.
    Network(WaitingThread<'a>),
    /// Threads that wait for a lock or for work; one cannot be told from the other.
    Locked(usize),
    /// It is at work, if not on this connection.
    Moving,
    Hidden,
}

impl<'a> Cause<'a> {
    /// The thread that it is.
    pub(super) fn waiter(&self) -> Option<WaitingThread<'a>> {
        match self {
            Self::Blocked(waiter)
            | Self::Computing(waiter)
            | Self::Backend(waiter, _)
            | Self::Network(waiter) => Some(*waiter),
            Self::Idle | Self::Locked(_) | Self::Moving | Self::Hidden => None,
        }
    }
}

/// Of one thread, nothing is left to guess; of several, which one has the connection is.
pub(super) fn of<'a>(facts: &Facts, endpoint: &Endpoint<'a>) -> (Cause<'a>, Certainty) {
    if endpoint.is_hidden {
        return (Cause::Hidden, Certainty::Unknown);
    }
    let is_alone = endpoint.others.only().is_some() && endpoint.sleeping_loops().next().is_none();
    // A server may be its own client: a thread that waits for this very connection does not hold it up.
    let peer = endpoint.socket.peer_inode();
    let is_client = |waiter: &WaitingThread<'_>| {
        peer.is_some_and(|peer| waiter.process.sockets_at(waiter.thread).contains(&peer))
    };
    let doings: Vec<_> = endpoint
        .others
        .iter()
        .filter(|waiter| !is_client(waiter))
        .map(|waiter| doing(facts, Some(endpoint), waiter, is_alone))
        .collect();
    let found = |wanted: fn(&Cause<'_>) -> bool| doings.iter().copied().find(|one| wanted(one));
    let held_up = found(|one| matches!(one, Cause::Backend(..) | Cause::Network(_)))
        .or_else(|| found(|one| matches!(one, Cause::Blocked(_))))
        .or_else(|| found(|one| matches!(one, Cause::Computing(_))));
    let locked = doings.iter().filter(|one| matches!(one, Cause::Locked(_))).count();
    let sure = if is_alone { Certainty::Certain } else { Certainty::Likely };
    if let Some(hidden) = found(|one| matches!(one, Cause::Hidden)) {
        (hidden, Certainty::Unknown)
    } else if let Some(cause) = held_up {
        (cause, sure)
    } else if let Some(moving) = found(|one| matches!(one, Cause::Moving)) {
        (moving, Certainty::Possible)
    } else if locked > 0 {
        (Cause::Locked(locked), if is_alone { sure } else { Certainty::Possible })
    } else if endpoint.others.iter().any(|one| one.thread.call == Call::Ring) {
        // One such thread does not hide what the others are at, as those of a database.
        (Cause::Hidden, Certainty::Unknown)
    } else if awaits_others(facts, endpoint) {
        (Cause::Idle, Certainty::Possible)
    } else {
        (Cause::Idle, Certainty::Likely)
    }
}

/// What a process is at that has its work by other ways than a socket. Its first thread tells, unless that
/// one waits for the others.
pub(super) fn of_process<'a>(facts: &Facts, process: &'a Process) -> Cause<'a> {
    let is_alone = process.threads.len() == 1;
    let waiter = |thread| WaitingThread { process, thread, activity: facts.activity(thread) };
    let doings: Vec<_> =
        process.threads.iter().map(|thread| doing(facts, None, waiter(thread), is_alone)).collect();
    let Some(first) = doings.first().copied() else { return Cause::Hidden };
    let found = |wanted: fn(&Cause<'_>) -> bool| doings.iter().copied().find(|one| wanted(one));
    match first {
        Cause::Idle | Cause::Locked(_) => {
            found(|one| matches!(one, Cause::Backend(..) | Cause::Network(_)))
                .or_else(|| found(|one| matches!(one, Cause::Computing(_))))
                .or_else(|| found(|one| matches!(one, Cause::Moving)))
                .or_else(|| found(|one| matches!(one, Cause::Blocked(_))))
                .unwrap_or(first)
        }
        _ => first,
    }
}

fn doing<'a>(
    facts: &Facts,
    endpoint: Option<&Endpoint<'a>>,
    waiter: WaitingThread<'a>,
    is_alone: bool,
) -> Cause<'a> {
    match waiter.activity {
        Activity::Computing | Activity::Starved => return Cause::Computing(waiter),
        Activity::Moving => return Cause::Moving,
        Activity::Still | Activity::Ticking => {}
    }
    match &waiter.thread.call {
        Call::Hidden => Cause::Hidden,
        Call::None => Cause::Moving,
        Call::Epoll(fd) if is_alone && !watches_sockets(waiter, *fd) => Cause::Blocked(waiter),
        // Whether a thread in io_uring waits for something new is asked if no other is held up.
        Call::Accept(_) | Call::Epoll(_) | Call::Poll(None) | Call::Ring => Cause::Idle,
        Call::Read(fd) | Call::Write(fd) => on_descriptor(facts, endpoint, waiter, *fd, is_alone),
        Call::Poll(Some(watches)) => match watches[..] {
            // To poll one descriptor is to read or write it, with a deadline.
            [Watch { fd, .. }] => on_descriptor(facts, endpoint, waiter, fd, is_alone),
            _ => Cause::Idle,
        },
        Call::Connect(fd, _) => match waiter.process.inode(*fd) {
            Some(inode) if facts.sockets.contains_key(&inode) => Cause::Backend(waiter, inode),
            Some(_) => Cause::Network(waiter),
            None => Cause::Blocked(waiter),
        },
        Call::Futex => Cause::Locked(1),
        // What threads that serve signals only wait in.
        Call::Other("rt_sigtimedwait" | "rt_sigsuspend" | "pause") if !is_alone => Cause::Idle,
        Call::Sleep | Call::FileLock(_) | Call::Child | Call::Other(_) => Cause::Blocked(waiter),
    }
}

/// The event loop may be woken by a socket. One that is not waits for something within the program, a
/// signal or a timer, as a server process of `PostgreSQL`'s that waits for a lock.
fn watches_sockets(waiter: WaitingThread<'_>, fd: u32) -> bool {
    let Some(descriptors) = &waiter.process.descriptors else { return true };
    let Some(epoll) = descriptors.epolls.iter().find(|epoll| epoll.fd == fd) else { return true };
    let is_socket =
        |inode: u64| u32::try_from(inode).is_ok_and(|one| descriptors.find(one).is_some());
    epoll.watched.iter().any(|one| is_socket(one.inode))
}

fn on_descriptor<'a>(
    facts: &Facts,
    endpoint: Option<&Endpoint<'a>>,
    waiter: WaitingThread<'a>,
    fd: u32,
    is_alone: bool,
) -> Cause<'a> {
    let Some(inode) = waiter.process.inode(fd) else {
        return Cause::Blocked(waiter);
    };
    match facts.sockets.get(&inode) {
        None => Cause::Network(waiter),
        Some(socket) if socket.state == State::Listening => Cause::Idle,
        // A thread for each connection, and this is another's.
        Some(socket) if facts.is_accepted(socket) && !is_alone => Cause::Idle,
        Some(socket)
            if facts.is_accepted(socket)
                || endpoint.is_some_and(|end| end.socket.inode == socket.inode) =>
        {
            Cause::Blocked(waiter)
        }
        Some(_) => Cause::Backend(waiter, inode),
    }
}

/// An event loop of its owners also watches a connection that they opened as a client: what looks
/// idle may wait for an answer there.
fn awaits_others(facts: &Facts, endpoint: &Endpoint<'_>) -> bool {
    endpoint.owners.iter().any(|(process, _)| {
        let Some(descriptors) = &process.descriptors else { return true };
        let watched = descriptors.epolls.iter().flat_map(|epoll| &epoll.watched);
        watched.filter_map(|one| u32::try_from(one.inode).ok()).any(|inode| {
            let is_client = match facts.sockets.get(&inode) {
                Some(socket) => {
                    socket.state == State::Connected
                        && !facts.is_accepted(socket)
                        && !facts.is_own_pair(process.pid, inode)
                }
                None => false,
            };
            inode != endpoint.socket.inode && is_client
        })
    })
}
