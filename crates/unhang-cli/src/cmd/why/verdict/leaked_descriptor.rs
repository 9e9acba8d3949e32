//! The server's end is open, but not with the process that accepted it: another program, or a child of the same
//! one, inherited the descriptor, or was given it and is to answer.

use super::code::Code;
use super::finding::{Certainty, Verdict};
use super::words::{call, owners, source, who};
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::{Activity, Facts};
use crate::cmd::why::see::process::Process;
use crate::cmd::why::see::process::call::{Call, Watch};
use crate::cmd::why::see::process::thread::Thread;
use crate::sock_diag::Socket;

/// The connection was closed, and will not end, as its heirs do nothing with it.
///
/// Never certain: a copy of the descriptor may be on its way to a handler in a message (`SCM_RIGHTS`), which
/// nothing shows.
pub(super) fn leaked(facts: &Facts, server: &Endpoint<'_>) -> Option<Verdict> {
    to_a_mute_program(facts, server).or_else(|| to_an_idle_child(facts, server))
}

/// The owners of a server's end, if they have it from the process that accepted it and may be at the answer: to
/// end the reply for them would lose it.
pub(crate) fn may_answer(facts: &Facts, server: &Socket) -> Option<String> {
    let server = Endpoint::of(facts, server);
    let is_handed = giver(facts, &server).is_some() && leaked(facts, &server).is_none();
    is_handed.then(|| owners(&server))
}

/// Standard input, output and error are given to a program on purpose.
const GIVEN: u32 = 2;

/// They use no descriptor above 2 but of files that they open by name, and a socket cannot be opened so
/// (ENXIO, `open(2)`).
const MUTE: [&str; 4] = ["cat", "sleep", "tail", "tee"];

/// A service manager, the system's or a user's own: it keeps a service's listener, and if it accepts
/// for the service (`Accept=yes`), hands over what it accepted.
fn is_manager(process: &Process) -> bool {
    process.pid == 1 || process.name == "systemd"
}

/// What another program does with it would not tell: a handler that sleeps or computes looks like a program
/// that does not know of it. Some programs cannot answer.
fn to_a_mute_program(facts: &Facts, server: &Endpoint<'_>) -> Option<Verdict> {
    let owner = other_program(facts, server)?;
    let is_mute = |process: &Process| {
        let still = |thread| facts.activity(thread) == Activity::Still;
        MUTE.contains(&&*process.name) && process.threads.iter().all(still)
    };
    let is_leak = server.processes().all(is_mute);
    is_leak.then(|| {
        verdict(&who(owner), server).inferred(format!(
            "{} uses no socket that it inherits above descriptor 2",
            owners(server)
        ))
    })
}

/// The process that has the listener, if it closed the connection, and only processes of other programs
/// have it: they inherited it, or it handed it over to them.
fn other_program<'a>(facts: &'a Facts, server: &Endpoint<'_>) -> Option<&'a Process> {
    let owners = listener_owners(facts, server);
    let is_foreign = |(process, fd): &(&Process, u32)| {
        *fd > GIVEN
            && owners.iter().all(|owner| {
                owner.pid != process.pid
                    && matches!((owner.program, process.program), (Some(a), Some(b)) if a != b)
            })
    };
    // A manager that alone has the listener accepts for others, and hands over what it accepted.
    let owner = *owners.iter().find(|owner| !is_manager(owner))?;
    let has_closed = !owners.iter().any(|owner| server.holds(owner.pid));
    (has_closed && !server.owners.is_empty() && server.owners.iter().all(is_foreign))
        .then_some(owner)
}

/// What a child of the same program does with a connection that it has from its parent tells whether
/// it was given on purpose. One that waits for its parent's word, or for nothing in particular, has
/// no hand on it.
fn to_an_idle_child(facts: &Facts, server: &Endpoint<'_>) -> Option<Verdict> {
    let parent = parent(facts, server)?;
    let listener = facts.listener_of(server.socket)?.inode;
    // A loop of another program's is what a handler has, too.
    let waits = |process: &Process, thread: &Thread| match process.program == parent.program {
        true => awaits(facts, process, thread, parent),
        false => awaits_word(facts, process, thread, parent),
    };
    let is_idle = |(process, _): &(&Process, u32)| {
        !accepts(process, listener)
            && !watches(process, server.socket.inode)
            && !process.threads.is_empty()
            && process
                .threads
                .iter()
                .all(|thread| facts.activity(thread) == Activity::Still && waits(process, thread))
    };
    if !server.owners.iter().all(is_idle) {
        return None;
    }
    let mut verdict = verdict(&who(parent), server)
        .inferred(format!("{} accepted it, as its child does not", who(parent)));
    for process in server.processes() {
        if let Some(thread) = process.threads.first() {
            let text = format!("{} {}", who(process), call(process, thread));
            verdict = verdict.fact(source::CALL, text);
        }
    }
    if server.processes().any(waits_at_a_socket) {
        let text =
            "or it was handed over to it in a message on that socket, and it has not closed it";
        verdict = verdict.inferred(text);
    }
    Some(verdict)
}

/// A descriptor may come with what is said there (`SCM_RIGHTS`).
fn waits_at_a_socket(process: &Process) -> bool {
    process.threads.iter().any(|thread| !process.sockets_at(thread).is_empty())
}

fn verdict(owner: &str, server: &Endpoint<'_>) -> Verdict {
    let name = owners(server);
    let headline = format!(
        "{owner} closed the connection, but {name} inherited the descriptor: no end arrives before \
         {name} ends"
    );
    Verdict::new(Code::FdLeaked, Certainty::Likely, headline)
        .fact(source::DESCRIPTORS, format!("only {name} holds the server's end"))
        .fix("server: open and accept with close-on-exec (SOCK_CLOEXEC); close in a forked child what is not its own")
}

/// The process that accepted the connection and has closed it. Its owners have it from that process: they
/// are to answer, or have only inherited it.
pub(super) fn giver<'a>(facts: &'a Facts, server: &Endpoint<'_>) -> Option<&'a Process> {
    parent(facts, server).or_else(|| other_program(facts, server))
}

/// The parent that all owners have the connection from: it has the listener, and this end no more.
/// If they could have accepted it themselves, only if it is the parent that accepts.
fn parent<'a>(facts: &'a Facts, server: &Endpoint<'_>) -> Option<&'a Process> {
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

/// The thread waits for what another process has to say, or in an event loop.
pub(super) fn awaits(facts: &Facts, process: &Process, thread: &Thread, other: &Process) -> bool {
    match &thread.call {
        Call::Poll(Some(watches)) if watches.len() > 1 => true,
        Call::Epoll(_) => true,
        _ => awaits_word(facts, process, thread, other),
    }
}

/// The thread waits at a pipe or a socket whose other end that process holds.
fn awaits_word(facts: &Facts, process: &Process, thread: &Thread, other: &Process) -> bool {
    let fd = match &thread.call {
        Call::Read(fd) => *fd,
        Call::Poll(Some(watches)) => match watches[..] {
            [Watch { fd, .. }] => fd,
            // To poll nothing is to sleep.
            _ => return false,
        },
        _ => return false,
    };
    let socket = process.inode(fd);
    let peer = socket.and_then(|inode| facts.sockets.get(&inode)?.peer_inode());
    let owners = peer.and_then(|peer| facts.owners.get(&peer));
    let has_peer = owners.is_some_and(|held| held.iter().any(|held| held.0 == other.pid));
    let pipe = process.descriptors.as_ref().and_then(|all| all.pipe(fd));
    has_peer || pipe.is_some_and(|pipe| other.has_pipe(pipe))
}
