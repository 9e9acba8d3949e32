//! A datagram socket that others send to, as /dev/log: its queue holds few messages, and a sender that finds
//! it full is blocked.

use super::code::Code;
use super::finding::{Certainty, LONG, Verdict};
use super::pair;
use super::unread_bytes::{stopped, why_unread};
use super::words::{blocked_end, end, name_of, owners, source};
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::{Facts, Sending};
use crate::sock_diag::{Kind, Socket};

/// Others may send to it: it has a name, or is connected to in one direction only.
pub(super) fn is_receiver(facts: &Facts, socket: &Socket) -> bool {
    socket.kind == Kind::Datagram && pair::other_end(facts, socket).is_none()
}

/// None: nobody is blocked, and nothing lies unread.
pub(super) fn judge(facts: &Facts, receiver: &Socket) -> Option<Verdict> {
    let endpoint = Endpoint::of(facts, receiver);
    let senders: Vec<_> = facts.sending_to(receiver.inode).collect();
    let mut verdict = match senders.len() {
        0 => unread(facts, &endpoint)?,
        _ => full(&endpoint, &senders)?,
    };
    verdict.clients =
        senders.iter().map(|sender| blocked_end(facts, sender.thread, "send", "write")).collect();
    verdict.server = Some(end(&endpoint));
    verdict.is_young = verdict.since().is_some_and(|since| since < LONG);
    Some(verdict)
}

/// A sender whose receiver is not to be seen.
pub(super) fn judge_sender(facts: &Facts, sender: &Sending) -> Verdict {
    let end = blocked_end(facts, sender.thread, "send", "write");
    let name =
        end.owners.first().map_or(String::new(), |held| format!("{}[{}]", held.name, held.pid));
    let headline =
        format!("{name} is blocked in sending a datagram, and its receiver is not to be seen");
    let mut verdict = Verdict::unseen(headline).fact(source::CALL, "a thread waits in send()");
    verdict.clients = vec![end];
    verdict
}

fn full(receiver: &Endpoint<'_>, senders: &[&Sending]) -> Option<Verdict> {
    let name = owners(receiver);
    let blocked = match senders.len() {
        1 => "1 sender is blocked".to_owned(),
        count => format!("{count} senders are blocked"),
    };
    if receiver.is_stopped() {
        let mut verdict = stopped(receiver);
        let how = verdict.headline.rsplit(' ').next().unwrap_or("stopped").to_owned();
        verdict.headline = format!("{blocked}: {name}, which reads {}, is {how}", of(receiver));
        return Some(verdict);
    }
    let waited = senders.iter().filter_map(|sender| sender.thread.since).max();
    let is_still = receiver.is_still() && receiver.readers.is_empty();
    // One that reads takes the senders in turn, and this one's may come yet.
    if !is_still && !receiver.is_hidden && waited.is_none_or(|waited| waited < LONG) {
        return None;
    }
    let certainty = if is_still { Certainty::Certain } else { Certainty::Likely };
    let headline =
        format!("the queue of {} is full: {blocked}, and {name} does not read", of(receiver));
    let verdict = Verdict::new(Code::QueueFull, certainty, headline)
        .fact(source::CALL, format!("{blocked} in send()"))
        .fix("receiver: read in a thread of its own, which does nothing else")
        .fix("sender: do not block (MSG_DONTWAIT), and drop what cannot be sent");
    Some(why_unread(receiver, verdict))
}

/// Nobody is seen to wait: a process that has sent its message goes on.
fn unread(facts: &Facts, receiver: &Endpoint<'_>) -> Option<Verdict> {
    if receiver.socket.unread == 0 || !facts.is_steady(receiver.socket.inode) {
        return None;
    }
    let path = of(receiver);
    if receiver.is_hidden {
        let text = format!("a datagram waits at {path}; whether its queue is full may not be seen");
        return Some(Verdict::unseen(text));
    }
    if receiver.is_stopped() {
        return Some(stopped(receiver).fault(false).fact(source::DIAG, "a datagram lies unread"));
    }
    if !receiver.is_still() || !receiver.readers.is_empty() {
        return None;
    }
    let headline = format!("a datagram waits at {path}, and {} does not read it", owners(receiver));
    let verdict = Verdict::new(Code::RequestUnread, Certainty::Possible, headline)
        .fault(false)
        .fact(source::DIAG, format!("the first has {} B", receiver.socket.unread))
        .inferred("no sender is blocked yet")
        .fix("receiver: read in a thread of its own, which does nothing else");
    Some(why_unread(receiver, verdict))
}

fn of(receiver: &Endpoint<'_>) -> String {
    match receiver.socket.name.is_empty() {
        true => "a datagram socket".to_owned(),
        false => name_of(&receiver.socket.name),
    }
}
