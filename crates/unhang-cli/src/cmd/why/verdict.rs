//! From facts to words: what hangs, how sure that is, what it rests on, and what cures it.
//!
//! Nothing here reads the system: the same facts always give the same verdicts.

mod behind;
mod cause;
mod chain;
mod code;
mod connection;
mod fastcgi;
mod file;
mod finding;
mod front;
mod leaked_descriptor;
mod links;
mod listener;
mod need;
mod nobody_reads;
mod seen;
mod server_report;
mod unread_bytes;
mod upstream;
mod waiting;
mod words;

use std::collections::HashSet;

use crate::cmd::why::facts::Facts;
use crate::cmd::why::target::Target;
use crate::sock_diag::{Kind, Socket, State};

pub(crate) use code::Code;
pub(crate) use finding::{Certainty, End, Evidence, Held, Hop, LONG, Verdict};
pub(crate) use links::{behind, socket_name};
pub(crate) use words::{age, name_of};

/// Everything there is to say about what the user asked for; the faults first, of them those nearest to the
/// cause, and of these the surest.
pub(crate) fn judge(facts: &Facts, target: &Target) -> Vec<Verdict> {
    let mut verdicts = file::judge(facts, target);
    for socket in facts.listeners().filter(|socket| target.concerns(facts, socket)) {
        verdicts.extend(listener::judge(facts, target, socket));
    }
    for socket in facts.sockets.values().filter(|socket| target.concerns(facts, socket)) {
        if facts.is_accepted(socket) {
            verdicts.extend(connection::judge(facts, socket));
        } else if let Some(former) = facts.details.former.get(&socket.inode) {
            verdicts.extend(connection::judge_left(facts, socket, former));
        }
    }
    let causes = causes(&verdicts);
    verdicts.sort_by_cached_key(|verdict| {
        let order = |end: &End| end.cookie;
        (
            !verdict.is_fault,
            distance(verdict, &causes),
            std::cmp::Reverse(verdict.certainty),
            verdict.code,
            verdict.clients.first().map(order),
            // Without a client, and of what has no end at all, the order is to be one, too.
            verdict.server.as_ref().map(order),
            verdict.headline.clone(),
        )
    });
    verdicts
}

/// The processes that are themselves found to hang, and not only to wait for others.
fn causes(verdicts: &[Verdict]) -> HashSet<u32> {
    let found = verdicts.iter().filter(|one| one.is_fault && !may_follow(one.code));
    found.flat_map(|one| &one.server).flat_map(|end| &end.owners).map(|held| held.pid).collect()
}

/// How far a finding is from its cause: so many processes, if another finding tells of the last of them.
fn distance(verdict: &Verdict, causes: &HashSet<u32>) -> usize {
    if !verdict.is_fault || !may_follow(verdict.code) {
        return 0;
    }
    let mut owners = verdict.server.iter().flat_map(|end| &end.owners);
    match verdict.code {
        Code::HandlerWaitsBackend => verdict.chain.len(),
        _ => usize::from(owners.any(|held| causes.contains(&held.pid))),
    }
}

/// It may be only what follows from another finding.
fn may_follow(code: Code) -> bool {
    matches!(code, Code::HandlerWaitsBackend | Code::NotAccepted | Code::BacklogFull)
}

/// Without a listener nothing tells which end is the server's.
fn is_passed_over(facts: &Facts, socket: &Socket) -> bool {
    let is_peer_accepted = || {
        let peer = socket.peer_inode().and_then(|peer| facts.sockets.get(&peer));
        peer.is_some_and(|peer| facts.is_accepted(peer))
    };
    socket.kind == Kind::Datagram
        || socket.state == State::Connected
            && socket.peer_inode().is_some()
            && !facts.is_accepted(socket)
            && !is_peer_accepted()
}

/// The finding that there is none. Beside one that is only possible, it would deny it.
pub(crate) fn all_is_well(facts: &Facts, target: &Target, found: &[Verdict]) -> Option<Verdict> {
    if !found.is_empty() {
        return None;
    }
    // What was not looked at is not called well.
    match facts.passed_over.len() {
        0 => {}
        count => {
            let unseen = match count {
                1 => "1 process was".to_owned(),
                _ => format!("{count} processes were"),
            };
            let headline = format!("{unseen} not looked at; nothing is seen to hang elsewhere");
            return Some(Verdict::unseen(headline));
        }
    }
    let concerned = || facts.sockets.values().filter(|socket| target.concerns(facts, socket));
    let open = concerned().filter(|socket| facts.is_accepted(socket)).count();
    let listening = facts.listeners().filter(|socket| target.concerns(facts, socket)).count();
    let passed_over = concerned().filter(|socket| is_passed_over(facts, socket)).count();
    let passed_over = match passed_over {
        0 => String::new(),
        count => format!("; {count} socketpairs' and datagram ends are not judged"),
    };
    let headline = format!("nothing hangs: {listening} listening, {open} connections{passed_over}");
    Some(Verdict::new(Code::Ok, Certainty::Certain, headline).fault(false))
}

#[cfg(test)]
mod tests;
