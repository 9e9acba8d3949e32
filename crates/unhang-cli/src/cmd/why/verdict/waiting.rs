//! Both queues are empty, and the client waits: for which process?

use super::code::Code;
use super::finding::{Certainty, Verdict};
use super::need::{Need, need_of};
use super::unread_bytes::stopped;
use super::words::{lasting, owners, source};
use super::{front, nobody_reads};
use crate::cmd::why::ask::reader::{Handler, Reader};
use crate::cmd::why::endpoint::{Endpoint, Loop, WaitingThread};
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
        return both_waiting(server, need, Some(*reader), None);
    }
    match server.reading_loop() {
        Some(one) => watched(facts, server, need, one),
        None => nobody_reads::judge(facts, server, need),
    }
}

fn inode(end: &Endpoint<'_>) -> u32 {
    end.socket.inode
}

/// A loop would wake if the client spoke. Whether that means that the program waits for it is for
/// the runtime under it to say, if there is one.
fn watched(facts: &Facts, server: &Endpoint<'_>, need: Need, one: Loop<'_>) -> Option<Verdict> {
    match facts.details.readers.get(&inode(server)) {
        Some(Ok(Some(Reader::Waiting { goroutine, frames, .. }))) => {
            goroutine_waits(server, need, *goroutine, frames)
        }
        Some(Ok(Some(Reader::KeptAlive { .. }))) => None,
        Some(Ok(Some(Reader::Handled { handler }))) => {
            Some(handler_runs(server, need, handler.as_ref().map_err(String::as_str)))
        }
        Some(Ok(Some(Reader::Nobody { handlers }))) => Some(nobody_reads(server, *handlers, need)),
        Some(Err(why)) => both_waiting(server, need, None, Some(one))
            .map(|verdict| verdict.inferred(format!("who reads it is not known: {why}"))),
        Some(Ok(None)) | None => front::judge(facts, server, need)
            .or_else(|| both_waiting(server, need, None, Some(one))),
    }
}

fn both_waiting(
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

/// What reads until a delimiter. `bufio.(*Reader).Read` does not: it reads so many bytes.
const DELIMITED: &[&str] = &[
    "bufio.(*Reader).ReadString",
    "bufio.(*Reader).ReadBytes",
    "bufio.(*Reader).ReadSlice",
    "bufio.(*Reader).ReadLine",
    "bufio.(*Reader).collect",
    "bufio.(*Scanner)",
];

/// net/http has the request, and what has its handler does not answer.
fn handler_runs(server: &Endpoint<'_>, need: Need, handler: Result<&Handler, &str>) -> Verdict {
    let name = owners(server);
    let fact = "net/http has read the request, and its handler runs";
    let headline = format!("{name} has the request, and its handler has not answered");
    let verdict = Verdict::new(Code::HandlerBlocked, Certainty::Likely, headline)
        .fact(source::GO, fact)
        .fix("server: give the handler a deadline: http.TimeoutHandler, or a context in each call");
    match handler {
        Ok(Handler { goroutine, selects, location }) => {
            let stack: Vec<_> = location.stack.iter().map(|one| &*one.function).collect();
            let stack = format!("goroutine {goroutine}: {}", stack.join(" < "));
            let verdict = verdict.fact(source::GO, stack);
            match selects {
                // Events are sent so, and one that has none to send yet does not hang.
                true => verdict.fault(false).inferred("it may wait for an event on purpose"),
                false => verdict.fault(need >= Need::Sole),
            }
        }
        Err(why) => verdict.fault(false).inferred(why.to_owned()),
    }
}

/// The frames tell what the handler reads for.
fn goroutine_waits(
    server: &Endpoint<'_>,
    need: Need,
    goroutine: u64,
    frames: &[String],
) -> Option<Verdict> {
    let name = owners(server);
    let has =
        |names: &[&str]| frames.iter().any(|frame| names.iter().any(|name| frame.contains(name)));
    let stack = format!("goroutine {goroutine}: {}", frames.join(" < "));
    let certainty = if need == Need::Direct { Certainty::Certain } else { Certainty::Likely };
    let verdict = if has(&["io.ReadAll", "ioutil.ReadAll"]) {
        let headline = format!("{name} reads until the end, and the client has not half-closed");
        Verdict::new(Code::ServerWaitsEof, certainty, headline)
            .fix("client: shutdown(SHUT_WR) after the request. server: read one message instead")
    } else if has(DELIMITED) {
        let headline = format!("{name} reads until a delimiter that the client has not sent");
        // A client that has said all and waits to be told something later looks the same.
        let certainty = certainty.min(Certainty::Likely);
        Verdict::new(Code::ServerWaitsDelimiter, certainty, headline)
            .fix("client: end the request with a newline, or whatever the server splits at")
    } else {
        let verdict = both_waiting(server, need, None, None)?;
        return Some(verdict.fact(source::GO, stack));
    };
    Some(verdict.fault(need >= Need::Sole).fact(source::GO, stack))
}

fn nobody_reads(server: &Endpoint<'_>, handlers: usize, need: Need) -> Verdict {
    let name = owners(server);
    let fact = "no goroutine reads this connection";
    if handlers > 0 {
        let headline = format!("no goroutine of {name} reads this connection");
        return Verdict::new(Code::HandlerBlocked, Certainty::Possible, headline)
            .fact(source::GO, fact)
            .inferred(format!("one of its {handlers} other goroutines may still work on a reply"))
            .inferred("or none of them does, and the connection was forgotten")
            .fix("server: give the handler a deadline; `defer conn.Close()` in its first line");
    }
    let headline = format!("{name} is done with the connection and forgot to close it");
    Verdict::new(Code::AnsweredNotClosed, Certainty::Certain, headline)
        .fault(need >= Need::Sole)
        .doubt("nobody will read or close: certain · that it answered: inferred")
        .fact(source::GO, fact)
        .fact(source::GO, "no goroutine is left that could own it")
        .inferred("the handler has returned; a later garbage collection may close it, or never")
        .fix("server: `defer conn.Close()` in the first line of the handler")
        .fix("client: stop after one reply; do not read until the end of the stream")
}
