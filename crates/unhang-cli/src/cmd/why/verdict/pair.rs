//! The two ends of a socketpair, or of two datagram sockets that are connected to one another: neither is
//! a server's.
//!
//! Nothing tells which of the two owes the other an answer: a worker that waits for its next job looks like
//! a parent that waits for a result. So a fault is only what nobody does on purpose: bytes lie unread
//! while the process that sent them waits, or two processes wait for one another and for nothing else.

use super::code::Code;
use super::connection::stands_still;
use super::finding::{Certainty, LONG, Verdict};
use super::leaked_descriptor::awaits;
use super::need::{Need, need};
use super::unread_bytes::{self, stopped, writes};
use super::words::{call, end, owners, source, who};
use crate::cmd::why::endpoint::{Endpoint, WaitingThread};
use crate::cmd::why::facts::{Activity, Facts};
use crate::cmd::why::see::process::call::Call;
use crate::sock_diag::{Kind, Socket, State};

/// The other end, if this is one of a pair.
pub(super) fn other_end<'a>(facts: &'a Facts, socket: &Socket) -> Option<&'a Socket> {
    let other = facts.sockets.get(&socket.peer_inode()?)?;
    let is_mutual = other.peer_inode() == Some(socket.inode) && other.kind == socket.kind;
    let is_connected = socket.kind == Kind::Datagram || socket.state == State::Connected;
    let is_served = facts.is_accepted(socket) || facts.is_accepted(other);
    (is_mutual && is_connected && !is_served).then_some(other)
}

/// Both ends are one process's, which wakes itself or another of its threads so.
pub(super) fn is_within_one_process(facts: &Facts, one: &Socket, other: &Socket) -> bool {
    let holder = |socket: &Socket| {
        let mut owners = facts.owners.get(&socket.inode).into_iter().flatten().map(|held| held.0);
        let first = owners.next()?;
        owners.all(|pid| pid == first).then_some(first)
    };
    holder(one).is_some() && holder(one) == holder(other)
}

/// None: nobody is seen to wait in vain.
pub(super) fn judge(facts: &Facts, one: &Socket, other: &Socket) -> Option<Verdict> {
    if !facts.is_steady(one.inode) || !facts.is_steady(other.inode) {
        return None;
    }
    if is_within_one_process(facts, one, other) {
        return None;
    }
    let (one, other) = (Endpoint::of(facts, one), Endpoint::of(facts, other));
    both_wait(&one, &other)
        .map(|verdict| with_ends(verdict, &one, &other))
        .or_else(|| one_waits(facts, &one, &other))
        .or_else(|| one_waits(facts, &other, &one))
}

fn with_ends(mut verdict: Verdict, waits: &Endpoint<'_>, other: &Endpoint<'_>) -> Verdict {
    verdict.clients = vec![end(waits)];
    verdict.server = Some(end(other));
    verdict.is_young = verdict.since().map_or(verdict.is_fault, |since| since < LONG);
    verdict
}

/// The process at one end waits, in reading or in writing: for the process at the other end?
fn one_waits(facts: &Facts, waits: &Endpoint<'_>, other: &Endpoint<'_>) -> Option<Verdict> {
    let need = need(facts, waits);
    let found = if writes(waits) {
        blocked_in_sending(waits, other)
    } else if other.socket.unread > 0 {
        unread(need, waits, other)
    } else if waits.socket.unread > 0 {
        None
    } else {
        match need {
            Need::Hidden => Some(unseen()),
            Need::Direct if other.is_hidden => Some(unseen()),
            Need::Direct if other.is_stopped() => stopped_child(waits, other),
            Need::Direct => inherited(facts, waits, other),
            Need::None | Need::Shared | Need::Sole => None,
        }
    };
    Some(with_ends(stands_still(found?, waits, other)?, waits, other))
}

fn unseen() -> Verdict {
    Verdict::unseen("whether the two ends of a socketpair wait for one another may not be seen")
}

fn blocked_in_sending(writer: &Endpoint<'_>, reader: &Endpoint<'_>) -> Option<Verdict> {
    if writes(reader) || reader.is_stopped() {
        return unread_bytes::judge(reader, writer).or_else(|| Some(stopped(reader)));
    }
    // It reads, and the writer was only not woken yet.
    if !reader.readers.is_empty() || reader.reading_loop().is_some() {
        return None;
    }
    let mut verdict = unread_bytes::client_not_reading(writer, reader);
    verdict.evidence.retain(|evidence| evidence.source.is_some());
    verdict.fix = vec![
        "the reader: read all that comes in a thread of its own; the writer: a deadline".to_owned(),
    ];
    Some(unread_bytes::why_unread(reader, verdict))
}

/// What lies unread may be for later, unless the process that sent it waits.
fn unread(need: Need, sender: &Endpoint<'_>, receiver: &Endpoint<'_>) -> Option<Verdict> {
    let verdict = unread_bytes::judge(receiver, sender)?;
    match need {
        Need::Sole | Need::Direct => {}
        Need::Hidden => return Some(unseen()),
        Need::None => return None,
        // An event loop that waits for many perhaps does not wait for this one.
        Need::Shared => {
            let mut verdict = verdict.fault(false);
            verdict.certainty = Certainty::Possible;
            return Some(verdict.inferred("whether its sender waits for this one is not known"));
        }
    }
    Some(verdict.inferred("the process that sent them waits for what comes of them"))
}

/// A child that waits for its parent's next word does not hang if the parent was stopped.
fn stopped_child(waits: &Endpoint<'_>, other: &Endpoint<'_>) -> Option<Verdict> {
    let is_parent = |pid: u32| waits.processes().any(|process| process.pid == pid);
    other.processes().all(|process| is_parent(process.parent)).then(|| stopped(other))
}

/// The threads that wait to read an end, and nothing but that, for as long as it takes.
fn sole_readers<'a>(endpoint: &'a Endpoint<'_>) -> impl Iterator<Item = &'a WaitingThread<'a>> {
    endpoint.readers.iter().filter(|one| {
        let is_alone = match &one.thread.call {
            Call::Read(_) => true,
            Call::Poll(Some(watches)) => watches.len() == 1,
            _ => false,
        };
        is_alone && one.thread.timeout.is_none() && one.activity == Activity::Still
    })
}

/// Of all the processes that hold an end, every thread waits to read one: nobody is left that could write.
fn both_wait(one: &Endpoint<'_>, other: &Endpoint<'_>) -> Option<Verdict> {
    let is_empty = one.socket.unread == 0 && other.socket.unread == 0;
    let readers: Vec<u32> =
        [one, other].iter().flat_map(|end| sole_readers(end).map(|one| one.thread.tid)).collect();
    let have_readers = [one, other].iter().all(|end| sole_readers(end).next().is_some());
    let mut threads = one.processes().chain(other.processes()).flat_map(|process| &process.threads);
    let is_hidden = one.is_hidden || other.is_hidden;
    if !is_empty || is_hidden || !have_readers || !threads.all(|one| readers.contains(&one.tid)) {
        return None;
    }
    let (one, other) = (owners(one), owners(other));
    let headline =
        format!("deadlock: {one} and {other} wait to read from one another, and for nothing else");
    Some(
        Verdict::new(Code::BothWaiting, Certainty::Likely, headline)
            .fact(source::CALL, "each of their threads waits to read its end, without a deadline")
            .fact(source::DIAG, "nothing lies unread at either end")
            .inferred("only a signal could wake one of them")
            .fix("let one of the two write first; give reading a deadline"),
    )
}

/// The other end is with processes that do nothing with it and wait for the very process that waits here: they
/// inherited it, and the process that it was meant for has ended.
fn inherited(facts: &Facts, waits: &Endpoint<'_>, other: &Endpoint<'_>) -> Option<Verdict> {
    let waiter = sole_readers(waits).next()?;
    let has_another_thread = waiter.process.threads.len() > 1;
    if has_another_thread || !other.readers.is_empty() || !other.loops.is_empty() {
        return None;
    }
    let name = who(waiter.process);
    if other.is_unheld() {
        let headline = format!(
            "{name} waits for an answer, and the other end is in no process: it lies in a message that nobody took"
        );
        return Some(
            Verdict::new(Code::Forgotten, Certainty::Likely, headline)
                .fact(source::DESCRIPTORS, "found in no process"),
        );
    }
    let is_heir = |process: &crate::cmd::why::see::process::Process| {
        process.pid != waiter.process.pid
            && !process.threads.is_empty()
            && process.threads.iter().all(|thread| {
                !matches!(thread.call, Call::Epoll(_))
                    && facts.activity(thread) == Activity::Still
                    && awaits(facts, process, thread, waiter.process)
            })
    };
    if !other.processes().all(is_heir) {
        return None;
    }
    let heirs = owners(other);
    let headline = format!(
        "{name} waits for a process that has ended: {heirs} inherited the other end, so no end can arrive"
    );
    let mut verdict = Verdict::new(Code::FdLeaked, Certainty::Likely, headline)
        .fact(source::DESCRIPTORS, format!("only {heirs} holds the other end"));
    for process in other.processes() {
        if let Some(thread) = process.threads.first() {
            let text = format!("{} {}", who(process), call(process, thread));
            verdict = verdict.fact(source::CALL, text);
        }
    }
    Some(
        verdict
            .inferred(format!("or {heirs} was given both, and each waits for the other's word"))
            .fix("close in a forked child what is not its own; open with close-on-exec (SOCK_CLOEXEC)")
            .fix("give reading a deadline, and look whether the child lives (waitpid)"),
    )
}
