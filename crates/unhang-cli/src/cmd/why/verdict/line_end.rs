//! So few bytes lie unread that they are more likely the end of a line than a request: what keeps the server
//! that has read the rest of it?

use super::finding::{Certainty, Verdict};
use super::need::{Need, need_of};
use super::nobody_reads;
use super::unread_bytes::{queued_text, writes};
use super::words::source;
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::Facts;

/// CR and LF. What the bytes are is not looked at: to peek could move a program's own offset (`SO_PEEK_OFF`).
const LONGEST: u32 = 2;

/// None: it is judged by what lies unread.
pub(super) fn judge(
    facts: &Facts,
    server: &Endpoint<'_>,
    client: &Endpoint<'_>,
) -> Option<Verdict> {
    if !may_be_left_over(server, client) {
        return None;
    }
    let need = need_of(facts, client, server);
    if need < Need::Sole {
        return None;
    }
    let mut verdict = nobody_reads::judge(facts, server, need)?;
    if verdict.certainty == Certainty::Unknown {
        return None;
    }
    verdict.certainty = verdict.certainty.min(Certainty::Likely);
    verdict.evidence.retain(|evidence| !evidence.text.starts_with("nothing lies unread"));
    let doubt = format!(
        "{}: what lies unread is the end of a line that it has read, or the request",
        verdict.certainty.name()
    );
    Some(
        verdict
            .doubt(doubt)
            .fact(source::DIAG, queued_text("server", server))
            .inferred("they are the end of a line that it has read, or the whole of the request")
            .fix("if they are the request: server: read each connection in a thread or task of its own"),
    )
}

/// No thread and no event loop attends to the server's end, which its owners could read.
fn may_be_left_over(server: &Endpoint<'_>, client: &Endpoint<'_>) -> bool {
    (1..=LONGEST).contains(&server.socket.unread)
        && client.socket.unread == 0
        && server.readers.is_empty()
        && server.loops.is_empty()
        && !writes(server)
        && !server.is_hidden
        && !server.is_stopped()
        && !server.is_unheld()
}
