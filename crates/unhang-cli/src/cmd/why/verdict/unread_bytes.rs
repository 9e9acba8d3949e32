//! Bytes lie in a queue and nobody takes them out.

use super::code::Code;
use super::finding::{Certainty, LONG, Verdict};
use super::words::{bytes, lasting, owners, source, thread_does, who};
use crate::cmd::why::endpoint::{Endpoint, Loop};
use crate::cmd::why::facts::Activity;
use crate::cmd::why::see::process::Process;

/// At least one of the two ends has unread bytes.
pub(super) fn judge(server: &Endpoint<'_>, client: &Endpoint<'_>) -> Option<Verdict> {
    let (to_server, to_client) = (server.socket.unread, client.socket.unread);
    // A thread that reads or writes this very connection woke meanwhile: it is alive.
    let users = [server, client].map(|end| end.readers.iter().chain(&end.writers));
    if users.into_iter().flatten().any(|one| one.activity != Activity::Still) {
        return None;
    }
    if to_server > 0 && to_client > 0 && writes(server) && writes(client) {
        return Some(write_deadlock(server, client));
    }
    if to_client > 0 && writes(server) {
        return Some(client_not_reading(server, client));
    }
    if to_server > 0 && server.readers.is_empty() {
        return request_unread(server, client);
    }
    // A client at work may come to it yet.
    let is_left = client.readers.is_empty() && !is_at_work(client);
    (to_client > 0 && is_left).then(|| reply_unread(client))
}

/// One of its owners' threads is held up by nothing.
fn is_at_work(end: &Endpoint<'_>) -> bool {
    end.sleeping_loops().next().is_none()
        && end.others.restless().any(|one| one.activity == Activity::Moving)
}

/// Somebody has waited at this end for that long.
pub(super) fn waits_long(end: &Endpoint<'_>) -> bool {
    end.readers.iter().any(|one| one.thread.since.is_some_and(|since| since >= LONG))
}

/// It is blocked in writing, or its event loop sleeps until the full queue drains.
pub(super) fn writes(end: &Endpoint<'_>) -> bool {
    let waits_for_room = |one: Loop<'_>| one.registration.writes();
    !end.writers.is_empty() || end.socket.is_full() && end.sleeping_loops().any(waits_for_room)
}

fn write_deadlock(server: &Endpoint<'_>, client: &Endpoint<'_>) -> Verdict {
    let names = (owners(client), owners(server));
    let headline = format!("{} and {} both write, and neither reads", names.0, names.1);
    Verdict::new(Code::WriteDeadlock, Certainty::Certain, headline)
        .fact(source::DIAG, queued_text("client", client))
        .fact(source::DIAG, queued_text("server", server))
        .fix(
            "read while writing, on both sides; or agree that the whole request is sent before the \
             reply begins, and keep either within the socket's buffer",
        )
}

pub(super) fn client_not_reading(server: &Endpoint<'_>, client: &Endpoint<'_>) -> Verdict {
    let headline =
        format!("{} is blocked in sending: {} does not read", owners(server), owners(client));
    Verdict::new(Code::ClientNotReading, Certainty::Certain, headline)
        .fact(source::DIAG, queued_text("client", client))
        .inferred("the server answers, as its bytes are on their way")
        .fix("client: read until the end of the reply. server: give writing a deadline")
}

pub(super) fn queued_text(end: &str, endpoint: &Endpoint<'_>) -> String {
    format!("{} lie unread at the {end}'s end", bytes(endpoint.socket.unread))
}

fn request_unread(server: &Endpoint<'_>, client: &Endpoint<'_>) -> Option<Verdict> {
    if is_at_work(server) && !waits_long(client) {
        return None;
    }
    let name = owners(server);
    let waiting = bytes(server.socket.unread);
    let fact = queued_text("server", server);
    if server.is_stopped() {
        return Some(stopped(server).fact(source::DIAG, fact));
    }
    let idle = server.sleeping_loops().next();
    if let Some((code, headline, fix)) = idle.and_then(|one| masked(&one)) {
        let headline = format!("{waiting} wait in {name}: {headline}");
        let verdict = Verdict::new(code, Certainty::Certain, headline)
            .fact(source::DIAG, fact)
            .fact(source::EPOLL, registered(idle));
        return Some(verdict.fix(fix));
    }
    let is_edge_missed = |one: &Loop<'_>| {
        one.registration.is_edge_triggered() && !one.registration.is_of_a_runtime()
    };
    if idle.as_ref().is_some_and(is_edge_missed) {
        let headline = format!(
            "{waiting} wait in {name}, whose event loop sleeps: it was told of them once and did \
             not read to the end"
        );
        let verdict = Verdict::new(Code::EdgeMissed, Certainty::Likely, headline)
            .fact(source::DIAG, fact)
            .fact(source::EPOLL, registered(idle))
            .inferred("an edge-triggered loop is woken again only by new bytes");
        let fix = "server: after each edge read until EAGAIN; or register without EPOLLET";
        return Some(verdict.fix(fix));
    }
    let certainty = if is_at_work(server) { Certainty::Likely } else { Certainty::Certain };
    let headline = format!("{waiting} lie unread in {name}, and nobody reads them");
    // How much the client has sent in all is known to nobody but the two.
    let mut verdict = Verdict::new(Code::RequestUnread, certainty, headline)
        .doubt("unread: certain · that the server has not read the request itself: inferred")
        .fact(source::DIAG, fact)
        .inferred(
            "they are the request, a part of it, or what was left over of one that it has read",
        );
    if let Some(one) = idle {
        verdict = verdict.fact(source::EPOLL, registered(Some(one)));
        if one.registration.is_of_a_runtime() {
            verdict = verdict.inferred("none of the tasks under its event loop reads it");
        }
    }
    verdict = why_unread(server, verdict);
    Some(
        verdict
            .fix("server: read each connection in a thread or task of its own, with a deadline")
            .fix(
                "if it has answered, and these bytes were left over: server: close the connection",
            ),
    )
}

/// What the owners do instead, one line for each of the first few threads.
pub(super) fn why_unread(server: &Endpoint<'_>, mut verdict: Verdict) -> Verdict {
    const SHOWN: usize = 3;
    if server.is_hidden {
        let text = format!("why {} does not read may not be seen", owners(server));
        return verdict.inferred(text).doubt("unread: certain · cause: not visible");
    }
    if server.is_unheld() {
        return verdict.fact(source::DESCRIPTORS, "no process holds the server's end");
    }
    for waiter in server.others.iter().take(SHOWN) {
        let text = format!("{} {}", who(waiter.process), thread_does(&waiter));
        verdict = verdict.fact(source::CALL, text);
    }
    if is_at_work(server) {
        return verdict.doubt("unread: certain · that the server will not come to it: likely");
    }
    verdict
}

type Finding = (Code, &'static str, &'static str);

/// The loop sleeps and will not be woken by what lies there.
fn masked(one: &Loop<'_>) -> Option<Finding> {
    if one.registration.is_spent() {
        Some((
            Code::OneshotNotRearmed,
            "its event loop sleeps, and the descriptor's one shot is spent",
            "server: after each event arm the descriptor again, epoll_ctl(EPOLL_CTL_MOD)",
        ))
    } else if !one.registration.reads() {
        Some((
            Code::ReadingPaused,
            "its event loop sleeps, and does not watch the descriptor for reading",
            "server: take up reading again once there is room, epoll_ctl(EPOLL_CTL_MOD) with EPOLLIN",
        ))
    } else {
        None
    }
}

fn registered(one: Option<Loop<'_>>) -> String {
    one.map_or(String::new(), |one| {
        let since = lasting(one.sleeper.and_then(|sleeper| sleeper.thread.since));
        let names = one.registration.names();
        format!("the event loop sleeps{since}; fd {} is registered for {names}", one.fd)
    })
}

/// Nothing it holds is read or closed until it goes on.
pub(super) fn stopped(endpoint: &Endpoint<'_>) -> Verdict {
    let name = owners(endpoint);
    let frozen = endpoint.processes().find_map(|process| process.frozen.as_ref());
    let (how, source, text, fix) = match frozen {
        Some((file, _)) => (
            "frozen",
            source::CGROUP,
            format!("its control group is frozen: {file}"),
            "find out who froze it: docker unpause, systemctl thaw",
        ),
        None => (
            "stopped",
            source::STAT,
            "every one of its threads is in state T".to_owned(),
            "find out who stopped it: a debugger, Ctrl-Z in a terminal, or SIGSTOP",
        ),
    };
    let mut verdict =
        Verdict::new(Code::ServerStopped, Certainty::Certain, format!("{name} is {how}"))
            .fact(source, text)
            .fix(fix);
    verdict.now = cures(&endpoint.processes().collect::<Vec<_>>());
    verdict
}

/// What has stopped and frozen processes go on, each command once.
pub(super) fn cures(processes: &[&Process]) -> Vec<String> {
    let mut cures: Vec<String> = Vec::new();
    for process in processes {
        let cure = match &process.frozen {
            Some((_, thaw)) => thaw.clone(),
            None => Some(format!("kill -CONT {}", process.pid)),
        };
        cures.extend(cure.filter(|cure| !cures.contains(cure)));
    }
    cures
}

fn reply_unread(client: &Endpoint<'_>) -> Verdict {
    let name = owners(client);
    let waiting = bytes(client.socket.unread);
    let headline = format!("the reply has arrived and is unread: {waiting} wait in {name}");
    let mut verdict = Verdict::new(Code::ReplyUnread, Certainty::Certain, headline)
        .fact(source::DIAG, queued_text("client", client))
        .fix("client: read the reply before doing anything else");
    if client.is_stopped() {
        verdict = verdict.fact(source::STAT, format!("{name} is stopped"));
        for process in client.processes() {
            verdict = verdict.now(format!("kill -CONT {}", process.pid));
        }
    } else if client.is_hidden {
        verdict = verdict.inferred(format!("why {name} does not read may not be seen"));
    } else {
        for waiter in client.others.iter().take(1) {
            let text = format!("{} {}", who(waiter.process), thread_does(&waiter));
            verdict = verdict.fact(source::CALL, text);
        }
        let one = client.sleeping_loops().next();
        if one.is_some() {
            verdict = verdict.fact(source::EPOLL, registered(one));
        }
    }
    verdict
}
