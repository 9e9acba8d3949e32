//! Each side waits for the other to speak.

use super::code::Code;
use super::finding::{Certainty, Verdict};
use super::need::Need;
use super::words::{lasting, owners, source};
use crate::cmd::why::endpoint::{Endpoint, Loop, WaitingThread};

/// By what is seen of the server: a thread of it that reads, or an event loop. None: it may as well be idle.
pub(super) fn both_waiting(
    server: &Endpoint<'_>,
    need: Need,
    reader: Option<WaitingThread<'_>>,
    one: Option<Loop<'_>>,
) -> Option<Verdict> {
    // Two event loops with an open connection between them are how idle looks.
    if need == Need::Shared || need == Need::Sole && reader.is_none() {
        return None;
    }
    // The server will be told that no more comes, and waits for more all the same.
    let has_said_all = server.socket.shut_read;
    let certainty = match one {
        _ if need == Need::Sole || !has_said_all => Certainty::Possible,
        Some(one) if one.registration.is_of_a_runtime() => Certainty::Likely,
        _ => Certainty::Certain,
    };
    let name = owners(server);
    let mut verdict =
        Verdict::new(Code::BothWaiting, certainty, "each side waits for the other to speak")
            .doubt("waiting: certain · that somebody waits in vain: not known");
    verdict = match (reader, one) {
        (Some(reader), _) => {
            let lasting = lasting(reader.thread.since);
            verdict.fact(source::CALL, format!("{name} waits to read this{lasting}"))
        }
        (None, Some(one)) => {
            let names = one.registration.names();
            verdict.fact(source::EPOLL, format!("{name} watches this in an event loop ({names})"))
        }
        (None, None) => verdict,
    };
    if one.is_some_and(|one| one.registration.is_of_a_runtime()) {
        verdict = verdict
            .doubt("the client waits: certain · whether a task of the server reads: not visible")
            .inferred("such a loop watches every connection, also one that no task reads");
    }
    let fix = if has_said_all {
        "the client has half-closed and so said all: server: answer, and close"
    } else {
        "one of four: the server is still at the answer, in a task that is not seen; the client waits \
         on purpose, as a subscriber does; it was answered, and the server keeps the connection \
         open; or the request is not whole in its eyes (a newline, a length, a half-close is missing)"
    };
    Some(verdict.inferred("nothing lies unread at either end").fix(fix))
}
