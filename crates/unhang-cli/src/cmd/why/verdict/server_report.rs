//! A server of our own says what it waits for. No client waits there for ever: it ends each
//! wait by itself, and the verdict says when.

use super::cause::{self, Cause};
use super::code::Code;
use super::finding::{Certainty, LONG, Verdict};
use super::need::{Need, need};
use super::nobody_reads::{by_cause, doing};
use super::unread_bytes::client_not_reading;
use super::words::{age, owners, source};
use super::{behind, front, seen};
use crate::cmd::why::ask::server::waits::{ServerReport, Stage, Until};
use crate::cmd::why::endpoint::{Endpoint, WaitingThread};
use crate::cmd::why::facts::{Activity, Facts};

/// What is certain here is what the server is at. Whether somebody waits in vain, the client shows.
pub(super) fn judge(
    facts: &Facts,
    report: ServerReport,
    server: &Endpoint<'_>,
    client: &Endpoint<'_>,
) -> Option<Verdict> {
    let need = need(facts, client);
    let mut verdict = match report.stage {
        Stage::Request if server.socket.unread > 0 => seen::judge(facts, server, client)?,
        Stage::Request => request(report, server, need)?,
        // Kept on purpose, and nobody owes anybody anything.
        Stage::Idle if server.socket.unread > 0 || client.socket.unread > 0 => {
            seen::judge(facts, server, client)?
        }
        Stage::Idle => return None,
        // A server at work does not hang, unless its client has waited for long.
        _ if report.waited < LONG && report.stage != Stage::Reader => return None,
        Stage::Handler | Stage::Blocked if need == Need::None => return None,
        Stage::Handler => handler(facts, report, server, need),
        Stage::Blocked => blocked(facts, server, need),
        Stage::Reader => reader(server, client)?,
        Stage::Close if client.socket.unread > 0 => seen::judge(facts, server, client)?,
        Stage::Close => close(server),
    };
    if need == Need::Hidden {
        verdict = verdict.inferred("whether the client waits may not be seen");
    }
    verdict.report = Some(report);
    let says = format!("{} says: {}", owners(server), says(report));
    Some(verdict.fact(source::CONTROL, says).now(will_end(report)))
}

/// What it is at, and since when.
fn says(report: ServerReport) -> String {
    let (waited, left) = (age(report.waited), age(report.left));
    match (report.stage, report.until) {
        (Stage::Request, Until::Dry) => {
            format!("it has waited {waited} for the request, and does for {left} more")
        }
        (Stage::Request, Until::Newline) => format!(
            "it has waited {waited} for a newline, or the half-close, that ends the request, and \
             does for {left} more"
        ),
        (Stage::Request, Until::HalfClose) => format!(
            "it has waited {waited} for the half-close that ends the request, and does for {left} \
             more"
        ),
        (Stage::Idle, _) => {
            format!("it keeps the connection for the next request, and does for {left} more")
        }
        (Stage::Handler, _) => {
            format!("its handler has had the request for {waited}, and has {left} more")
        }
        (Stage::Blocked, _) => format!(
            "its handler has had the request for {waited}, blocks the thread that it began on, \
             and has {left} more"
        ),
        (Stage::Request, Until::Lines | Until::Http | Until::Goridge) => {
            format!("it has waited {waited} for the rest of the request, and does for {left} more")
        }
        (Stage::Reader, _) => format!(
            "it has waited {waited} for the client to read the reply, and does for {left} more"
        ),
        (Stage::Close, _) => format!(
            "it has answered, has waited {waited} for the client to close, and does for {left} more"
        ),
    }
}

/// In the library's words; a program may have others for its clients.
fn will_end(report: ServerReport) -> String {
    let last = match (report.stage, report.until) {
        (Stage::Request, Until::Dry) => {
            "with `ERR no whole request within …: send it, and half-close if it comes in pieces`"
        }
        (Stage::Request, Until::Newline) => {
            "with `ERR no whole request within …: end it with a newline, or half-close`"
        }
        (Stage::Request, Until::HalfClose) => {
            "with `ERR no whole request within …: half-close after it (shutdown SHUT_WR)`"
        }
        (Stage::Request, Until::Lines | Until::Http | Until::Goridge) => {
            "and tells the client that its request is not whole"
        }
        (Stage::Handler | Stage::Blocked, Until::Http | Until::Goridge) => {
            "and tells the client that the handler took longer"
        }
        (Stage::Handler | Stage::Blocked, _) => "with `ERR the handler took longer than …`",
        (Stage::Reader, _) => "and closes: the rest of the reply is lost",
        (Stage::Close | Stage::Idle, _) => "and closes",
    };
    format!("wait: the server ends this by itself in {}, {last}", age(report.left))
}

/// A client that does not wait yet may still be writing its request.
fn request(report: ServerReport, server: &Endpoint<'_>, need: Need) -> Option<Verdict> {
    if need < Need::Sole && report.waited < LONG {
        return None;
    }
    let name = owners(server);
    let verdict = match report.until {
        Until::Newline => {
            let headline = format!("{name} reads until a newline, which the client has not sent");
            Verdict::new(Code::ServerWaitsDelimiter, Certainty::Certain, headline)
                .fix("client: end the request with a newline, or half-close after it")
        }
        Until::HalfClose => {
            let headline =
                format!("{name} reads until the end, and the client has not half-closed");
            Verdict::new(Code::ServerWaitsEof, Certainty::Certain, headline)
                .fix("client: shutdown(SHUT_WR) after the request")
        }
        Until::Lines => {
            let headline =
                format!("{name} reads until its delimiter, which the client has not sent");
            Verdict::new(Code::ServerWaitsDelimiter, Certainty::Certain, headline)
                .fix("client: end each request with the delimiter that the server was told")
        }
        Until::Http | Until::Goridge => {
            let headline = format!("{name} waits for the rest of the request");
            Verdict::new(Code::BothWaiting, Certainty::Certain, headline)
                .fix("client: send the whole request, and as many bytes as its head says")
        }
        Until::Dry => {
            let headline = format!("{name} waits for the request, and the client for the reply");
            let headline = match need {
                Need::Sole | Need::Direct => headline,
                _ => format!("{name} waits for the request"),
            };
            Verdict::new(Code::BothWaiting, Certainty::Certain, headline)
                .inferred("the client has sent nothing: of this server's, whatever comes is whole")
                .fix("client: send the request before waiting for the reply")
        }
    };
    Some(verdict.fault(need >= Need::Sole))
}

fn handler(facts: &Facts, report: ServerReport, server: &Endpoint<'_>, need: Need) -> Verdict {
    let told = behind::judge(facts, report, server, need);
    if let Some(verdict) = told.or_else(|| front::judge(facts, server, need)) {
        return verdict;
    }
    let name = owners(server);
    let headline = format!("the handler of {name} has not answered: it waits for something itself");
    let verdict = Verdict::new(Code::HandlerBlocked, Certainty::Certain, headline)
        .doubt("that its handler has the request: certain · what that waits for: not visible");
    perhaps(facts, server, verdict)
        .fault(need >= Need::Sole)
        .fix("server: give what the handler waits for a deadline, below the client's")
}

fn blocked(facts: &Facts, server: &Endpoint<'_>, need: Need) -> Verdict {
    let (cause, certainty) = cause::of(facts, server);
    if let Cause::Computing(_) | Cause::Backend(..) | Cause::Network(_) = cause {
        let sure = need.max(Need::Sole);
        if let Some(mut verdict) = by_cause(facts, server, sure, cause, certainty) {
            // That the request was read is now known.
            verdict.evidence.retain(|evidence| evidence.source.is_some());
            return verdict.fault(need >= Need::Sole);
        }
    }
    let headline = format!("the handler of {} has not answered: it blocks", owners(server));
    let verdict = Verdict::new(Code::HandlerBlocked, Certainty::Certain, headline);
    perhaps(facts, server, verdict)
        .fault(need >= Need::Sole)
        .fix("server: give what the handler waits for a deadline, below the client's")
        .fix("server: do what blocks in spawn_blocking(), apart from the thread that accepts")
}

/// A thread that could be the one that keeps the handler.
fn perhaps(facts: &Facts, server: &Endpoint<'_>, verdict: Verdict) -> Verdict {
    let waiter: Option<WaitingThread<'_>> = match cause::of(facts, server).0 {
        Cause::Blocked(one)
        | Cause::Computing(one)
        | Cause::Backend(one, _)
        | Cause::Network(one) => Some(one),
        _ => None,
    };
    match waiter {
        Some(one) => verdict.inferred(format!("perhaps here: {}", doing(one).text)),
        None => verdict,
    }
}

/// None: the client has read meanwhile.
fn reader(server: &Endpoint<'_>, client: &Endpoint<'_>) -> Option<Verdict> {
    let is_alive = client.readers.iter().any(|one| one.activity != Activity::Still);
    let stays = client.socket.unread > 0 && !is_alive;
    stays.then(|| {
        let mut verdict = client_not_reading(server, client);
        // It has a deadline for writing.
        verdict.fix = vec!["client: read until the end of the reply".to_owned()];
        verdict
    })
}

fn close(server: &Endpoint<'_>) -> Verdict {
    let name = owners(server);
    let headline = format!("{name} has answered and half-closed; the client has not closed yet");
    Verdict::new(Code::ServerClosed, Certainty::Certain, headline)
        .fault(false)
        .fix("client: close after the end of the reply")
}
