//! One connection: which of its two ends keeps the other waiting.

use super::code::Code;
use super::finding::{Certainty, Verdict};
use super::words::{bytes, end, holders, name_of, source};
use super::{seen, server_report};
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
        return Some(client_gone(&at_server));
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
    let verdict = match facts.details.reports.get(&server.inode) {
        Some(word) => server_report::judge(facts, *word, &at_server, &at_client),
        None => seen::judge(facts, &at_server, &at_client),
    };
    verdict.map(|mut verdict| {
        verdict.now.extend(remedy(verdict.code, &at_server, &at_client));
        verdict.clients = vec![end(&at_client)];
        verdict.server = Some(end(&at_server));
        verdict
    })
}

/// What helps this one client without a restart.
fn remedy(code: Code, server: &Endpoint<'_>, client: &Endpoint<'_>) -> Option<String> {
    let (action, end) = match code {
        Code::Forgotten | Code::AnsweredNotClosed | Code::FdLeaked => ("release", server),
        Code::BothWaiting | Code::ServerWaitsEof => ("half-close", client),
        Code::ServerWaitsDelimiter => ("newline", client),
        _ => return None,
    };
    let (process, fd) = end.holders.first()?;
    Some(format!("unhang why --try {action} {}:{fd}", process.pid))
}

/// By the client's end, whose server's is no more.
pub(super) fn judge_left(facts: &Facts, client: &Socket, former: &Former) -> Option<Verdict> {
    if !facts.is_steady(client.inode) {
        return None;
    }
    let at_client = Endpoint::of(facts, client);
    let name = holders(&at_client);
    let headline = format!("the server has closed the connection; {name} still holds its end");
    let mut verdict = Verdict::new(Code::ServerClosed, Certainty::Certain, headline)
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

fn client_gone(at_server: &Endpoint<'_>) -> Verdict {
    let name = holders(at_server);
    let headline = format!("the client has left; {name} still holds its end");
    let mut verdict = Verdict::new(Code::ClientGone, Certainty::Certain, headline)
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
    verdict
}
