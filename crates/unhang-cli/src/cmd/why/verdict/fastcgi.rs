//! PHP's process manager: what its protocol leaves unread, and what its workers are at.

use super::cause;
use super::finding::{Certainty, Verdict};
use super::need::{Need, need};
use super::nobody_reads::by_cause;
use super::words::{self, source};
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::Facts;

/// The record of no bytes that ends a request's input: PHP reads it only after the page has ended.
const END_OF_REQUEST: u32 = 8;

/// A worker has taken the request, and what lies unread is only the record that ends it.
pub(super) fn has_request(server: &Endpoint<'_>) -> bool {
    server.socket.unread == END_OF_REQUEST
        && server.readers.is_empty()
        && server.loops.is_empty()
        && !server.owners.is_empty()
        && server.processes().all(|process| is_worker(&process.name))
}

pub(super) fn is_worker(name: &str) -> bool {
    name.starts_with("php-fpm")
}

/// What keeps the page. The web server waits for it on this connection and for nothing else there, also if
/// its event loop watches many.
pub(super) fn judge(
    facts: &Facts,
    server: &Endpoint<'_>,
    client: &Endpoint<'_>,
) -> Option<Verdict> {
    let need = match need(facts, client) {
        Need::Direct => Need::Direct,
        _ => Need::Sole,
    };
    let (cause, certainty) = cause::of(facts, server);
    let verdict = by_cause(facts, server, need, cause, certainty.min(Certainty::Likely))?;
    let name = words::owners(server);
    let mut verdict = verdict.fact(
        source::DIAG,
        format!(
            "{name} has the request: the 8 B unread are FastCGI's end of it, which PHP reads last"
        ),
    );
    // It was read, and so neither of the two is open.
    verdict.evidence.retain(|evidence| !evidence.text.starts_with("nothing lies unread"));
    verdict.fix = vec![
        "page: a deadline for what it waits for; close what it holds up".to_owned(),
        "php-fpm: request_terminate_timeout ends such a page; more workers only put it off"
            .to_owned(),
    ];
    Some(verdict)
}
