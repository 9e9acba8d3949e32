//! From facts to words: what hangs, how sure that is, what it rests on, and what cures it.
//!
//! Nothing here reads the system: the same facts always give the same verdicts.

mod behind;
mod both_waiting;
mod cause;
mod chain;
mod code;
mod connection;
mod datagram;
mod fastcgi;
mod file;
mod finding;
mod front;
mod goroutine;
mod leaked_descriptor;
mod line_end;
mod links;
mod listener;
mod need;
mod nobody_reads;
mod pair;
mod seen;
mod server_report;
mod starved;
mod unread_bytes;
mod upstream;
mod waiting;
mod words;

use std::collections::{BTreeSet, HashSet};

use crate::cmd::why::facts::{Facts, Sending};
use crate::cmd::why::target::Target;
use crate::sock_diag::Socket;

pub(crate) use behind::of_process;
pub(crate) use code::Code;
pub(crate) use finding::{Certainty, End, Evidence, Held, Hop, LONG, Verdict};
pub(crate) use leaked_descriptor::may_answer;
pub(crate) use links::{behind, server_name, socket_name};
pub(crate) use words::{age, name_of};

/// Everything there is to say about what the user asked for; the faults first, of them those nearest to the
/// cause, and of these the surest. Then what could not be seen: somebody may hang there. With it come the
/// processes that have a socket which was not judged, as the time was over.
pub(crate) fn judge(
    facts: &Facts,
    target: &Target,
    is_over: impl Fn() -> bool,
) -> (Vec<Verdict>, BTreeSet<u32>) {
    let mut verdicts = file::judge(facts, target);
    let mut left = BTreeSet::new();
    let is_concerned = |socket: &&Socket| target.concerns(facts, socket);
    // A connection that nobody is seen to hold takes no time.
    let mut is_in_time = |socket: &&Socket| {
        let ends = std::iter::once(socket.inode).chain(socket.peer_inode());
        let owners = ends.flat_map(|inode| facts.owners(inode));
        let mut owners = owners.map(|(process, _)| process.pid).peekable();
        let is_left = owners.peek().is_some() && is_over();
        if is_left {
            left.extend(owners);
        }
        !is_left
    };
    for socket in facts.listeners().filter(is_concerned).filter(&mut is_in_time) {
        verdicts.extend(listener::judge(facts, target, socket));
    }
    for socket in facts.sockets.values().filter(is_concerned).filter(&mut is_in_time) {
        if facts.is_accepted(socket) {
            verdicts.extend(connection::judge(facts, socket));
        } else if let Some(former) = facts.details.former.get(&socket.inode) {
            verdicts.extend(connection::judge_left(facts, socket, former));
        } else if let Some(other) = pair::other_end(facts, socket) {
            // Each of its ends comes by here.
            if socket.inode < other.inode {
                verdicts.extend(pair::judge(facts, socket, other));
            }
        } else if datagram::is_receiver(facts, socket) {
            verdicts.extend(datagram::judge(facts, socket));
        } else {
            verdicts.extend(connection::judge_far(facts, socket));
        }
    }
    let is_concerned = |sender: &&Sending| {
        let socket = facts.sockets.get(&sender.thread.inode);
        sender.to.is_none() && socket.is_some_and(|socket| target.concerns(facts, socket))
    };
    let senders = facts.sending.iter().filter(is_concerned);
    verdicts.extend(senders.map(|sender| datagram::judge_sender(facts, sender)));
    let mut verdicts: Vec<_> =
        verdicts.into_iter().map(|verdict| starved::temper(facts, verdict)).collect();
    let causes = causes(&verdicts);
    verdicts.sort_by_cached_key(|verdict| {
        let order = |end: &End| end.cookie;
        (
            !verdict.is_fault,
            verdict.code != Code::OwnerNotVisible,
            distance(verdict, &causes),
            std::cmp::Reverse(verdict.certainty),
            verdict.code,
            verdict.clients.first().map(order),
            // Without a client, and of what has no end at all, the order is to be one, too.
            verdict.server.as_ref().map(order),
            verdict.headline.clone(),
        )
    });
    (verdicts, left)
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

/// How many connections without a finding may be idle or hang, and nothing tells which: most are idle, as of programs
/// with event loops at both ends.
pub(crate) fn undecided(facts: &Facts, target: &Target, found: &[Verdict]) -> usize {
    let ends = found.iter().flat_map(|verdict| verdict.clients.iter().chain(&verdict.server));
    let told: HashSet<u32> = ends.map(|end| end.inode).collect();
    let sockets = facts.sockets.values().filter(|socket| target.concerns(facts, socket));
    sockets
        .filter(|socket| facts.is_accepted(socket) && !told.contains(&socket.inode))
        .filter(|socket| connection::is_undecided(facts, socket))
        .count()
}

/// That there is no finding, in words, before what was looked at.
pub(crate) fn well(looked_at: &str, undecided: usize) -> String {
    match undecided {
        0 => format!("nothing hangs: {looked_at}"),
        1 => format!(
            "nothing seen to hang: {looked_at}; 1 connection is idle or waits, which cannot be told"
        ),
        _ => format!(
            "nothing seen to hang: {looked_at}; {undecided} connections are idle or wait, which \
             cannot be told"
        ),
    }
}

/// The finding that there is none. Beside one that is only possible, it would deny it.
pub(crate) fn all_is_well(
    facts: &Facts,
    target: &Target,
    found: &[Verdict],
    undecided: usize,
) -> Option<Verdict> {
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
    let pairs: Vec<_> = concerned()
        .filter_map(|socket| Some((socket, pair::other_end(facts, socket)?)))
        .filter(|(one, other)| one.inode < other.inode)
        .collect();
    let is_within =
        |(one, other): &&(&Socket, &Socket)| pair::is_within_one_process(facts, one, other);
    let within = pairs.iter().filter(is_within).count();
    let receivers = concerned().filter(|socket| datagram::is_receiver(facts, socket)).count();
    let more = |count: usize, what: &str| match count {
        0 => String::new(),
        _ => format!(", {count} {what}"),
    };
    let (pairs, receivers) = (pairs.len() - within, more(receivers, "datagram sockets"));
    let more = format!("{}{receivers}", more(pairs, "socketpairs"));
    let passed_over = match within {
        0 => String::new(),
        _ => format!("; {within} socketpairs within one process are not judged"),
    };
    let certainty = if undecided == 0 { Certainty::Certain } else { Certainty::Likely };
    let looked_at = format!("{listening} listening, {open} connections{more}");
    let headline = format!("{}{passed_over}", well(&looked_at, undecided));
    Some(Verdict::new(Code::Ok, certainty, headline).fault(false))
}

#[cfg(test)]
mod tests;
