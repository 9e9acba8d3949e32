//! One connection: which of its two ends keeps the other waiting.

use std::time::Duration;

use super::cause::{self, Cause};
use super::code::Code;
use super::finding::{Certainty, LONG, Verdict};
use super::words::{bytes, end, name_of, owners, source};
use super::{need, seen, server_report};
use crate::cmd::why::ask::server::waits::{ServerReport, Stage, Until};
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::{Facts, Former};
use crate::sock_diag::Socket;

/// By the server's end. None: nobody is seen to wait in vain.
pub(super) fn judge(facts: &Facts, server: &Socket) -> Option<Verdict> {
    if !facts.is_steady(server.inode) {
        return None;
    }
    let at_server = Endpoint::of(facts, server);
    if server.is_orphan() {
        return client_gone(facts, &at_server);
    }
    let client = facts.sockets.get(&server.peer_inode()?);
    let Some(client) = client else {
        let headline = "the client's end is in a network namespace that may not be looked into";
        let mut verdict = Verdict::unseen(headline);
        verdict.server = Some(end(&at_server));
        return Some(verdict);
    };
    if !facts.is_steady(client.inode) {
        return None;
    }
    let at_client = Endpoint::of(facts, client);
    // A word explains, and acquits nobody: with it or without, what is seen stands.
    let explained = believed(facts, &at_server, &at_client)
        .and_then(|report| server_report::judge(facts, report, &at_server, &at_client));
    let verdict = explained.or_else(|| seen::judge(facts, &at_server, &at_client));
    let verdict = stands_still(verdict?, &at_server, &at_client)?;
    Some(with_ends(verdict, &at_server, &at_client))
}

/// Of a connection without a verdict, by the server's end: it may be idle, or its client may wait in vain, and nothing
/// that was seen tells which.
pub(super) fn is_undecided(facts: &Facts, server: &Socket) -> bool {
    let client = server.peer_inode().and_then(|peer| facts.sockets.get(&peer));
    let is_steady = |end: &Socket| facts.is_steady(end.inode);
    let Some(client) = client.filter(|client| is_steady(client) && is_steady(server)) else {
        return false;
    };
    let (at_server, at_client) = (Endpoint::of(facts, server), Endpoint::of(facts, client));
    let says_idle =
        believed(facts, &at_server, &at_client).is_some_and(|report| report.stage == Stage::Idle);
    !says_idle && need::may_wait(facts, &at_client, &at_server)
}

/// What a server of ours says of it, if that can be true.
fn believed(facts: &Facts, server: &Endpoint<'_>, client: &Endpoint<'_>) -> Option<ServerReport> {
    let report = facts.details.reports.get(&server.socket.inode).copied();
    report.filter(|report| report.waited <= oldest(server, client))
}

/// No connection is older than the processes that have its ends, but for ends that were passed on. A server
/// that says that it has waited for longer does not tell the truth.
fn oldest(server: &Endpoint<'_>, client: &Endpoint<'_>) -> Duration {
    /// Between the word and the look at the processes; and clocks differ.
    const LATER: Duration = Duration::from_secs(1);
    let age = |end: &Endpoint<'_>| end.processes().filter_map(|process| process.age).max();
    let ages = [server, client].map(|end| age(end).unwrap_or(Duration::MAX));
    ages[0].min(ages[1]).saturating_add(LATER)
}

/// An exchange takes both ends: while each of them has run, a request may have come and its answer
/// gone, however alike the two look in every sample.
pub(super) fn stands_still(
    verdict: Verdict,
    server: &Endpoint<'_>,
    client: &Endpoint<'_>,
) -> Option<Verdict> {
    if server.is_still() || client.is_still() || verdict.code == Code::OwnerNotVisible {
        return Some(verdict);
    }
    if verdict.code == Code::HandlerCpu && need::only_computes(server) {
        let mut verdict = verdict
            .fault(false)
            .doubt("possible: both have run, and an answer between would not have been seen");
        verdict.certainty = Certainty::Possible;
        return Some(verdict);
    }
    // A client that has run has not waited all the while. Of a hidden one that is not known.
    client.is_hidden.then(|| {
        let headline = &verdict.headline;
        Verdict::unseen(format!("{headline}; whether for more than a moment may not be seen"))
    })
}

fn with_ends(mut verdict: Verdict, server: &Endpoint<'_>, client: &Endpoint<'_>) -> Verdict {
    verdict.now.extend(remedy(&verdict, server, client));
    verdict.clients = vec![end(client)];
    verdict.server = Some(end(server));
    // A server may take a moment for its answer.
    verdict.is_young = verdict.since().map_or(verdict.is_fault, |since| since < LONG);
    verdict
}

/// What helps this one client without a restart. It interferes with the conversation, so it is told
/// only if the cause is certain: it would cut short a client that waits on purpose.
fn remedy(verdict: &Verdict, server: &Endpoint<'_>, client: &Endpoint<'_>) -> Option<String> {
    let (action, end) = match verdict.code {
        _ if !verdict.is_fault || verdict.certainty < Certainty::Certain => return None,
        Code::AnsweredNotClosed => ("release", server),
        Code::ServerWaitsEof => ("half-close", client),
        // Its delimiter may be another.
        Code::ServerWaitsDelimiter
            if verdict.report.is_some_and(|report| report.until == Until::Lines) =>
        {
            return None;
        }
        Code::ServerWaitsDelimiter => ("newline", client),
        _ => return None,
    };
    let (process, fd) = end.owners.first()?;
    Some(format!("unhang why --try {action} {}:{fd}:{}", process.pid, end.socket.cookie))
}

/// By the client's end, whose server's is no more.
pub(super) fn judge_left(facts: &Facts, client: &Socket, former: &Former) -> Option<Verdict> {
    if !facts.is_steady(client.inode) {
        return None;
    }
    let at_client = Endpoint::of(facts, client);
    let name = owners(&at_client);
    let headline = format!("the server has closed the connection; {name} still holds its end");
    if !at_client.is_still() && !at_client.is_hidden {
        return None;
    }
    let mut verdict = Verdict::new(Code::ServerClosed, Certainty::Certain, headline)
        // The end of the stream would have woken a client that waits: a pool keeps it for later.
        .fault(false)
        .doubt("closed: certain · nobody is known to wait")
        .fact(source::DIAG, "shut in both directions, and nobody holds the other end")
        .fact(source::PEER, format!("it was connected to {}", name_of(&former.name)));
    if client.unread > 0 {
        let text = format!("{} of the reply lie unread", bytes(client.unread));
        verdict = verdict.fact(source::DIAG, text);
    }
    verdict = verdict.fix(format!(
        "client: read until the end (an empty read), then close; {name} does neither"
    ));
    verdict.clients = vec![end(&at_client)];
    Some(verdict)
}

/// By a client's end whose server's is in a network namespace that may not be looked into.
pub(super) fn judge_far(facts: &Facts, client: &Socket) -> Option<Verdict> {
    let is_far = client.peer_inode().is_some_and(|peer| !facts.sockets.contains_key(&peer));
    let may_be_hidden = facts.visibility.hidden_namespaces > 0;
    if !is_far || !may_be_hidden || !facts.is_steady(client.inode) {
        return None;
    }
    let headline = "the server's end is in a network namespace that may not be looked into";
    let mut verdict = Verdict::unseen(headline);
    verdict.clients = vec![end(&Endpoint::of(facts, client))];
    Some(verdict)
}

/// None: it is at work, perhaps still on what the client asked for.
fn client_gone(facts: &Facts, at_server: &Endpoint<'_>) -> Option<Verdict> {
    let is_idle = matches!(cause::of(facts, at_server).0, Cause::Idle);
    if !at_server.is_still() || !is_idle {
        return None;
    }
    let name = owners(at_server);
    let headline = format!("the client has left; {name} still holds its end");
    let mut verdict = Verdict::new(Code::ClientGone, Certainty::Certain, headline)
        .fault(false)
        .fact(source::DIAG, "shut in both directions, and nobody holds the other end");
    if at_server.socket.unread > 0 {
        let text = format!("{} of its request lie unread", bytes(at_server.socket.unread));
        verdict = verdict.fact(source::DIAG, text);
    }
    verdict = verdict.fix(
        "server: close a connection whose client has left (POLLHUP, or an empty read); each one \
         that is kept costs a descriptor",
    );
    verdict.server = Some(end(at_server));
    Some(verdict)
}
