//! Both queues are empty, and the client waits: for which process?

use super::both_waiting::both_waiting;
use super::code::Code;
use super::finding::{Certainty, Verdict};
use super::need::{Need, is_busy_otherwise, need_of};
use super::unread_bytes::stopped;
use super::words::owners;
use super::{front, goroutine, nobody_reads};
use crate::cmd::why::ask::reader::Reader;
use crate::cmd::why::endpoint::{Endpoint, Loop};
use crate::cmd::why::facts::Facts;

pub(super) fn judge(
    facts: &Facts,
    server: &Endpoint<'_>,
    client: &Endpoint<'_>,
) -> Option<Verdict> {
    let need = need_of(facts, client, server);
    match need {
        Need::Hidden => {
            let text = format!("whether {} waits for a reply may not be seen", owners(client));
            return Some(Verdict::unseen(text));
        }
        Need::None => return None,
        Need::Shared | Need::Sole | Need::Direct => {}
    }
    if server.is_hidden && need >= Need::Sole {
        let text = format!(
            "{} waits for {}, of which nothing more may be seen",
            owners(client),
            owners(server)
        );
        return Some(Verdict::unseen(text));
    }
    if server.is_stopped() {
        return Some(stopped(server));
    }
    if let Some(reader) = server.readers.first() {
        // A loop that has timers, too, keeps a connection for later as one without does.
        if client.readers.is_empty() && is_busy_otherwise(client) {
            return None;
        }
        return both_waiting(server, need, Some(*reader), None);
    }
    match server.reading_loop() {
        Some(one) => watched(facts, server, client, need, one),
        None => nobody_reads::judge(facts, server, need).map(|verdict| doubted(verdict, client)),
    }
}

/// A client that is awake perhaps only keeps the connection to a server that rests.
fn doubted(mut verdict: Verdict, client: &Endpoint<'_>) -> Verdict {
    if verdict.code == Code::Forgotten && is_busy_otherwise(client) {
        verdict.certainty = verdict.certainty.min(Certainty::Possible);
        return verdict.fault(false).inferred("the client runs now and then, and may not need it");
    }
    verdict
}

fn inode(end: &Endpoint<'_>) -> u32 {
    end.socket.inode
}

/// A loop would wake if the client spoke. Whether that means that the program waits for it is for
/// the runtime under it to say, if there is one.
fn watched(
    facts: &Facts,
    server: &Endpoint<'_>,
    client: &Endpoint<'_>,
    need: Need,
    one: Loop<'_>,
) -> Option<Verdict> {
    match facts.details.readers.get(&inode(server)) {
        Some(Ok(Some(Reader::Waiting { goroutine, frames, .. }))) => {
            goroutine::waits(server, client, need, *goroutine, frames)
        }
        Some(Ok(Some(Reader::KeptAlive { .. }))) => None,
        Some(Ok(Some(Reader::Handled { handler }))) => {
            Some(goroutine::handler_runs(server, need, handler.as_ref().map_err(String::as_str)))
        }
        Some(Ok(Some(Reader::Nobody { handlers }))) => {
            Some(goroutine::nobody_reads(server, *handlers, need))
        }
        Some(Err(why)) => both_waiting(server, need, None, Some(one))
            .map(|verdict| verdict.inferred(format!("who reads it is not known: {why}"))),
        Some(Ok(None)) | None => front::judge(facts, server, need)
            .or_else(|| both_waiting(server, need, None, Some(one))),
    }
}
