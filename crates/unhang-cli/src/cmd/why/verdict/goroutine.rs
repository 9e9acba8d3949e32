//! A Go program watches every connection: which goroutine reads this one, and what for, or that none does.

use super::both_waiting::both_waiting;
use super::code::Code;
use super::finding::{Certainty, Verdict};
use super::need::Need;
use super::words::{owners, source};
use crate::cmd::why::ask::reader::Handler;
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::see::process::call::Call;

/// What reads until a delimiter. `bufio.(*Reader).Read` does not: it reads so many bytes.
const DELIMITED: &[&str] = &[
    "bufio.(*Reader).ReadString",
    "bufio.(*Reader).ReadBytes",
    "bufio.(*Reader).ReadSlice",
    "bufio.(*Reader).ReadLine",
    "bufio.(*Reader).collect",
    "bufio.(*Scanner)",
];

/// What reads a number of bytes, or less if the end comes sooner.
const COUNTED: &[&str] = &[
    "io.(*LimitedReader)",
    "io.(*SectionReader)",
    "io.ReadFull",
    "io.ReadAtLeast",
    "io.CopyN",
    "net/http.(*maxBytesReader)",
];

/// The goroutine that reads tells by its frames what for.
pub(super) fn waits(
    server: &Endpoint<'_>,
    client: &Endpoint<'_>,
    need: Need,
    goroutine: u64,
    frames: &[String],
) -> Option<Verdict> {
    let has =
        |names: &[&str]| frames.iter().any(|frame| names.iter().any(|name| frame.contains(name)));
    let stack = format!("goroutine {goroutine}: {}", frames.join(" < "));
    let verdict = if has(&["net/http.(*body)"]) {
        body_is_short(server, client, need, has(&["io.(*LimitedReader)"]))?
    } else if has(COUNTED) {
        both_waiting(server, need, None, None)?.inferred(
            "it reads a number of bytes: fewer have come, or it waits for the next request",
        )
    } else if reads_to_the_end(frames) {
        to_the_end(server, need)
    } else if has(DELIMITED) {
        to_a_delimiter(server, need)
    } else {
        both_waiting(server, need, None, None)?
    };
    Some(verdict.fact(source::GO, stack))
}

/// All that is under `io.ReadAll` gives it the connection's bytes as they are: another reader in between may end
/// sooner, at a length or at an end of its own.
fn reads_to_the_end(frames: &[String]) -> bool {
    const PLAIN: &[&str] = &["runtime.", "internal/poll.", "net.", "os.(*File)", "bufio.(*Reader)"];
    let is_plain = |frame: &String| PLAIN.iter().any(|plain| frame.starts_with(plain));
    let is_all =
        |frame: &String| frame.ends_with("io.ReadAll") || frame.ends_with("ioutil.ReadAll");
    let at = frames.iter().position(is_all);
    at.is_some_and(|at| frames[..at].iter().all(is_plain))
}

/// The handler of net/http reads a request's body, of which the client has not sent all.
fn body_is_short(
    server: &Endpoint<'_>,
    client: &Endpoint<'_>,
    need: Need,
    is_announced: bool,
) -> Option<Verdict> {
    if need < Need::Sole {
        return None;
    }
    let name = owners(server);
    // What the client sends next it may itself wait for, at another descriptor or in another task.
    let only_reads = client.readers.iter().any(|one| match &one.thread.call {
        Call::Poll(Some(watches)) => watches.len() == 1,
        _ => true,
    });
    let (certainty, headline) = match is_announced {
        true if only_reads => (
            Certainty::Likely,
            format!("{name} waits for the rest of the request: it is shorter than it says"),
        ),
        true => (Certainty::Possible, format!("{name} waits for the rest of the request")),
        false => (
            Certainty::Possible,
            format!("{name} waits for more of the request, which has not ended"),
        ),
    };
    Some(
        Verdict::new(Code::BothWaiting, certainty, headline)
            .fact(source::GO, "net/http has the request's head, and its handler reads the body")
            .fix("client: send the whole request, and as many bytes as its head says"),
    )
}

fn to_the_end(server: &Endpoint<'_>, need: Need) -> Verdict {
    let headline =
        format!("{} reads until the end, and the client has not half-closed", owners(server));
    let certainty = if need == Need::Direct { Certainty::Certain } else { Certainty::Likely };
    Verdict::new(Code::ServerWaitsEof, certainty, headline)
        .fault(need >= Need::Sole)
        .fix("client: shutdown(SHUT_WR) after the request. server: read one message instead")
}

fn to_a_delimiter(server: &Endpoint<'_>, need: Need) -> Verdict {
    let headline =
        format!("{} reads until a delimiter that the client has not sent", owners(server));
    // A client that has said all and waits to be told something later looks the same.
    Verdict::new(Code::ServerWaitsDelimiter, Certainty::Likely, headline)
        .fault(need >= Need::Sole)
        .fix("client: end the request with a newline, or whatever the server splits at")
}

/// net/http has the request, and what has its handler does not answer.
pub(super) fn handler_runs(
    server: &Endpoint<'_>,
    need: Need,
    handler: Result<&Handler, &str>,
) -> Verdict {
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

pub(super) fn nobody_reads(server: &Endpoint<'_>, handlers: usize, need: Need) -> Verdict {
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
