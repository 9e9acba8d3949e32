//! The server's end is open, but not with the process that accepted it: another program, or a child of the same
//! one, inherited the descriptor.

use super::code::Code;
use super::finding::{Certainty, Verdict};
use super::words::{call, owners, source, who};
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::{Activity, Facts};
use crate::cmd::why::see::process::Process;
use crate::cmd::why::see::process::call::{Call, Watch};
use crate::cmd::why::see::process::thread::Thread;

/// The connection was closed, and will not end, as its heirs do nothing with it.
pub(super) fn leaked(facts: &Facts, server: &Endpoint<'_>) -> Option<Verdict> {
    to_another_program(facts, server).or_else(|| to_an_idle_child(facts, server))
}

/// Standard input, output and error are given to a program on purpose.
const GIVEN: u32 = 2;

/// A service manager, the system's or a user's own: it keeps a service's listener, and if it accepts
/// for the service (`Accept=yes`), hands over what it accepted.
fn is_manager(process: &Process) -> bool {
    process.pid == 1 || process.name == "systemd"
}

fn to_another_program(facts: &Facts, server: &Endpoint<'_>) -> Option<Verdict> {
    let owners = listener_owners(facts, server);
    let is_foreign = |(process, fd): &(&Process, u32)| {
        *fd > GIVEN
            && owners.iter().all(|owner| {
                owner.pid != process.pid
                    && matches!((owner.program, process.program), (Some(a), Some(b)) if a != b)
            })
    };
    // Where it alone has the listener, it accepts for others, and hands over what it accepted.
    let is_leak = !owners.iter().all(|owner| is_manager(owner))
        && !owners.iter().any(|owner| server.holds(owner.pid))
        && server.owners.iter().all(is_foreign);
    is_leak.then(|| {
        // A process that may not be seen may hold this end, too.
        let by_manager = owners.iter().any(|owner| is_manager(owner));
        let is_sure = !by_manager && facts.hidden.is_empty();
        let certainty = if is_sure { Certainty::Certain } else { Certainty::Likely };
        let owner = owners.iter().map(|owner| who(owner)).collect::<Vec<_>>().join(", ");
        verdict(certainty, &owner, server)
    })
}

/// What a child of the same program does with a connection that it has from its parent tells whether
/// it was given on purpose. One that waits for its parent's word, or for nothing in particular, has
/// no hand on it.
fn to_an_idle_child(facts: &Facts, server: &Endpoint<'_>) -> Option<Verdict> {
    let parent = giver(facts, server)?;
    let listener = facts.listener_of(server.socket)?.inode;
    let is_idle = |(process, _): &(&Process, u32)| {
        !accepts(process, listener)
            && !watches(process, server.socket.inode)
            && !process.threads.is_empty()
            && process.threads.iter().all(|thread| {
                facts.activity(thread) == Activity::Still && awaits(facts, process, thread, parent)
            })
    };
    if !server.owners.iter().all(is_idle) {
        return None;
    }
    let mut verdict = verdict(Certainty::Likely, &who(parent), server)
        .inferred(format!("{} accepted it, as its child does not", who(parent)));
    for process in server.processes() {
        if let Some(thread) = process.threads.first() {
            let text = format!("{} {}", who(process), call(process, thread));
            verdict = verdict.fact(source::CALL, text);
        }
    }
    Some(verdict)
}

fn verdict(certainty: Certainty, owner: &str, server: &Endpoint<'_>) -> Verdict {
    let name = owners(server);
    let headline = format!(
        "{owner} closed the connection, but {name} inherited the descriptor: no end can arrive"
    );
    Verdict::new(Code::FdLeaked, certainty, headline)
        .fact(source::DESCRIPTORS, format!("only {name} holds the server's end"))
        .fix("server: open and accept with close-on-exec (SOCK_CLOEXEC); close in a forked child what is not its own")
}

/// The parent that all owners have the connection from: it has the listener, and this end no more.
/// If they could have accepted it themselves, only if it is the parent that accepts.
pub(super) fn giver<'a>(facts: &'a Facts, server: &Endpoint<'_>) -> Option<&'a Process> {
    let listener = facts.listener_of(server.socket)?.inode;
    let (first, _) = server.owners.first()?;
    let owners = listener_owners(facts, server);
    let parent = *owners.iter().find(|owner| owner.pid == first.parent)?;
    let is_heir = |(process, fd): &(&Process, u32)| {
        let has_listener = owners.iter().any(|owner| owner.pid == process.pid);
        *fd > GIVEN
            && process.parent == parent.pid
            && !watches(process, server.socket.inode)
            && !is_manager(parent)
            && (!has_listener || accepts(parent, listener))
    };
    let are_heirs = server.owners.iter().all(is_heir);
    (are_heirs && !server.holds(parent.pid)).then_some(parent)
}

fn listener_owners<'a>(facts: &'a Facts, server: &Endpoint<'_>) -> Vec<&'a Process> {
    let listener = facts.listener_of(server.socket).map(|listener| listener.inode);
    let owners = listener.into_iter().flat_map(|inode| facts.owners(inode));
    owners.map(|(process, _)| process).collect()
}

/// One of its threads waits for clients there.
fn accepts(process: &Process, listener: u32) -> bool {
    let Some(descriptors) = &process.descriptors else { return false };
    let is_it = |fd: u32| descriptors.inode(fd) == Some(listener);
    process.threads.iter().any(|thread| match &thread.call {
        Call::Accept(fd) => is_it(*fd),
        Call::Poll(Some(watches)) => watches.iter().any(|watch| is_it(watch.fd)),
        Call::Epoll(fd) => descriptors
            .epolls
            .iter()
            .any(|epoll| epoll.fd == *fd && epoll.watches(listener).is_some()),
        _ => false,
    })
}

/// An event loop of the process's own has the connection: it was given on purpose, as to a child that
/// serves one client.
fn watches(process: &Process, inode: u32) -> bool {
    let epolls = process.descriptors.iter().flat_map(|all| &all.epolls);
    epolls.into_iter().any(|epoll| epoll.watches(inode).is_some())
}

/// The thread waits for what another process has to say: at a pipe or a socket whose other end that
/// one holds, or in an event loop.
pub(super) fn awaits(facts: &Facts, process: &Process, thread: &Thread, other: &Process) -> bool {
    let from_other = |fd: u32| {
        let socket = process.inode(fd);
        let peer = socket.and_then(|inode| facts.sockets.get(&inode)?.peer_inode());
        let owners = peer.and_then(|peer| facts.owners.get(&peer));
        let has_peer = owners.is_some_and(|held| held.iter().any(|held| held.0 == other.pid));
        let pipe = process.descriptors.as_ref().and_then(|all| all.pipe(fd));
        has_peer || pipe.is_some_and(|pipe| other.has_pipe(pipe))
    };
    match &thread.call {
        Call::Read(fd) => from_other(*fd),
        Call::Poll(Some(watches)) => match watches[..] {
            [Watch { fd, .. }] => from_other(fd),
            _ => true,
        },
        Call::Epoll(_) => true,
        _ => false,
    }
}
