//! Both queues are empty, and the client waits: for whom?

use super::super::attention::{Attention, Loop, Waiter};
use super::super::facts::{Facts, Motion};
use super::super::runtime::Reader;
use super::cause::{self, Cause};
use super::connection::unseen;
use super::queued::stopped;
use super::words::{call, holders, lasting, source, thread_does, who};
use super::{Certainty, Code, Verdict, chain};
use crate::sock_diag::Socket;

/// How surely a client waits for this connection, and not only for anything at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Hidden,
    /// It does not wait, or wakes too often to hang.
    None,
    /// In an event loop, with others.
    Shared,
    /// In an event loop that watches nothing else.
    Sole,
    /// A thread is blocked until this end can be read.
    Direct,
}

pub(super) fn judge(
    facts: &Facts,
    server: &Attention<'_>,
    client: &Attention<'_>,
) -> Option<Verdict> {
    let need = need(facts, client);
    match need {
        Need::Hidden => {
            let text = format!("whether {} waits for a reply may not be seen", holders(client));
            return Some(unseen(text));
        }
        Need::None => return None,
        Need::Shared | Need::Sole | Need::Direct => {}
    }
    if server.is_hidden && need >= Need::Sole {
        let text = format!(
            "{} waits for {}, of which nothing more may be seen",
            holders(client),
            holders(server)
        );
        return Some(unseen(text));
    }
    if server.is_stopped() {
        return Some(stopped(server));
    }
    if let Some(reader) = server.readers.first() {
        return both_waiting(server, need, Some(*reader), None);
    }
    match server.reading_loop() {
        Some(one) => watched(facts, server, need, one),
        None => unattended(facts, server, need),
    }
}

fn need(facts: &Facts, client: &Attention<'_>) -> Need {
    if let Some(reader) = client.readers.first() {
        return if reader.motion == Motion::Still { Need::Direct } else { Need::None };
    }
    if client.is_hidden {
        return Need::Hidden;
    }
    if let Some(Ok(Some(Reader::Waiting { .. }))) = facts.details.readers.get(&inode(client)) {
        return Need::Direct;
    }
    match client.reading_loop() {
        Some(one) if one.sleeper.is_none_or(|sleeper| sleeper.motion != Motion::Still) => {
            Need::None
        }
        Some(Loop { is_sole: true, .. }) => Need::Sole,
        Some(_) => Need::Shared,
        None => Need::None,
    }
}

fn inode(end: &Attention<'_>) -> u32 {
    end.socket.inode
}

/// A loop would wake if the client spoke. Whether that means that the program waits for it is for
/// the runtime under it to say, where there is one.
fn watched(facts: &Facts, server: &Attention<'_>, need: Need, one: Loop<'_>) -> Option<Verdict> {
    match facts.details.readers.get(&inode(server)) {
        Some(Ok(Some(Reader::Waiting { goroutine, frames }))) => {
            goroutine_waits(server, need, *goroutine, frames)
        }
        Some(Ok(Some(Reader::Nobody { handlers }))) => Some(nobody_reads(server, *handlers)),
        Some(Err(why)) => both_waiting(server, need, None, Some(one))
            .map(|verdict| verdict.inferred(format!("who reads it is not known: {why}"))),
        Some(Ok(None)) | None => both_waiting(server, need, None, Some(one)),
    }
}

fn both_waiting(
    server: &Attention<'_>,
    need: Need,
    reader: Option<Waiter<'_>>,
    one: Option<Loop<'_>>,
) -> Option<Verdict> {
    // Two event loops with an open connection between them are how idle looks.
    if need == Need::Shared || need == Need::Sole && reader.is_none() {
        return None;
    }
    let certainty = match one {
        _ if need == Need::Sole => Certainty::Possible,
        Some(one) if one.registration.is_of_a_runtime() => Certainty::Likely,
        _ => Certainty::Certain,
    };
    let name = holders(server);
    let mut verdict =
        Verdict::new(Code::BothWaiting, certainty, "each side waits for the other to speak")
            .doubt("waiting: certain · cause: unknown");
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
    let fix = if server.socket.shut_read {
        "the client has half-closed and so said all: server: answer, and close"
    } else {
        "either the request is not whole in the server's eyes (a newline, a length, a half-close \
         is missing) or it was answered and the server keeps the connection open"
    };
    Some(verdict.inferred("nothing lies unread at either end").fix(fix))
}

/// The frames tell what the handler reads for.
fn goroutine_waits(
    server: &Attention<'_>,
    need: Need,
    goroutine: u64,
    frames: &[String],
) -> Option<Verdict> {
    let name = holders(server);
    let has =
        |names: &[&str]| frames.iter().any(|frame| names.iter().any(|name| frame.contains(name)));
    let stack = format!("goroutine {goroutine}: {}", frames.join(" < "));
    let certainty = if need == Need::Direct { Certainty::Certain } else { Certainty::Likely };
    let verdict = if has(&["io.ReadAll", "ioutil.ReadAll", "io.Copy"]) {
        let headline = format!("{name} reads until the end, and the client has not half-closed");
        Verdict::new(Code::ServerWaitsEof, certainty, headline)
            .fix("client: shutdown(SHUT_WR) after the request. server: read one message instead")
    } else if has(&["bufio.(*Reader).Read", "bufio.(*Scanner)", "bufio.(*Reader).collect"]) {
        let headline = format!("{name} reads until a delimiter that the client has not sent");
        Verdict::new(Code::ServerWaitsDelimiter, certainty, headline)
            .fix("client: end the request with a newline, or whatever the server splits at")
    } else {
        let verdict = both_waiting(server, need, None, None)?;
        return Some(verdict.fact(source::GO, stack));
    };
    Some(verdict.fault(need >= Need::Sole).fact(source::GO, stack))
}

fn nobody_reads(server: &Attention<'_>, handlers: usize) -> Verdict {
    let name = holders(server);
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
        .doubt("nobody will read or close: certain · that it answered: inferred")
        .fact(source::GO, fact)
        .fact(source::GO, "no goroutine is left that could own it")
        .inferred("the handler has returned; a later garbage collection may close it, or never")
        .fix("server: `defer conn.Close()` in the first line of the handler")
        .fix("client: stop after one reply; do not read until the end of the stream")
}

/// No thread and no loop of the server looks at the connection.
fn unattended(facts: &Facts, server: &Attention<'_>, need: Need) -> Option<Verdict> {
    if server.is_unheld() {
        let headline = "no process holds the server's end: it lies in a message that nobody took";
        return (need >= Need::Sole).then(|| {
            Verdict::new(Code::Forgotten, Certainty::Likely, headline)
                .fact(source::DESCRIPTORS, "found in no process")
        });
    }
    if let Some(verdict) = leaked(facts, server) {
        return Some(verdict);
    }
    let (cause, certainty) = cause::of(facts, server);
    let certainty = match need {
        Need::Direct => certainty,
        Need::Sole => certainty.min(Certainty::Likely),
        _ => certainty.min(Certainty::Possible),
    };
    // A server at work does not hang; and a client that waits among others is only to be told of
    // where its server has nothing else to do.
    if need == Need::Shared && !matches!(cause, Cause::Idle) {
        return None;
    }
    let name = holders(server);
    let blocked = |code, what: &str| {
        Verdict::new(code, certainty, format!("{name} has left the client waiting: it {what}"))
            .inferred("nothing lies unread: it has read the request, or none was sent")
    };
    Some(match cause {
        Cause::Moving => return None,
        Cause::Hidden => unseen(format!("what {name} does instead of answering may not be seen")),
        Cause::Idle => forgotten(server, certainty),
        Cause::Blocked(waiter) => {
            blocked(Code::HandlerBlocked, &call(waiter.process, waiter.thread))
                .evidence([doing(waiter)])
                .fix("server: give what the handler waits for a deadline, below the client's")
        }
        Cause::Computing(waiter) => blocked(Code::HandlerCpu, &thread_does(&waiter))
            .evidence([doing(waiter)])
            .fix("server: bound the work of one request, or do it apart from the reading"),
        Cause::Locked(count) => {
            let verdict = blocked(Code::HandlerBlocked, "waits for a lock, or for another thread")
                .fact(source::CALL, format!("threads of it that wait in futex(): {count}"))
                .fault(certainty >= Certainty::Possible && need >= Need::Direct)
                .fix("server: look for a lock that its holder does not give back");
            match certainty {
                Certainty::Certain => verdict,
                _ => verdict.doubt(
                    "possible: a thread that waits for a lock looks like one that waits for work",
                ),
            }
        }
        Cause::Network(waiter) => {
            blocked(Code::HandlerWaitsBackend, "now waits for a network peer")
                .evidence([doing(waiter)])
                .fix("server: give the call to its backend a deadline, below the client's")
        }
        Cause::Backend(waiter, inode) => backend(facts, server, waiter, inode, certainty),
    })
}

fn doing(waiter: Waiter<'_>) -> super::Evidence {
    let text =
        format!("{} thread {} {}", who(waiter.process), waiter.thread.tid, thread_does(&waiter));
    super::Evidence { text, source: Some(source::CALL) }
}

fn backend(
    facts: &Facts,
    server: &Attention<'_>,
    waiter: Waiter<'_>,
    inode: u32,
    certainty: Certainty,
) -> Verdict {
    let name = holders(server);
    let chain = chain::follow(facts, waiter, inode);
    let headline = match &chain.circle {
        Some(circle) => {
            format!("deadlock: {} wait for one another in a circle", circle.join(" → "))
        }
        None => {
            format!("{name} has left the client waiting: it itself waits for {}", at(facts, inode))
        }
    };
    let fix = match chain.circle {
        Some(_) => {
            "let none of them call back into one that waits for it; give each call a deadline"
        }
        None => "look at the end of the chain; give each call to a backend a deadline",
    };
    Verdict::new(Code::HandlerWaitsBackend, certainty, headline)
        .fact(
            source::CALL,
            format!("{} {}", who(waiter.process), call(waiter.process, waiter.thread)),
        )
        .evidence(chain.hops)
        .fix(fix)
}

/// The name of whatever a client's end is connected, or connecting, to.
fn at(facts: &Facts, inode: u32) -> String {
    let socket = facts.sockets.get(&inode);
    let peer = socket.and_then(Socket::peer_inode).and_then(|peer| facts.sockets.get(&peer));
    let connecting = || facts.connecting.iter().find(|one| one.inode == inode);
    match (peer, facts.queue_of(inode)) {
        (Some(peer), _) if !peer.name.is_empty() => super::words::name_of(&peer.name),
        (_, Some(listener)) => super::words::name_of(&listener.name),
        _ => connecting().map_or_else(
            || "another socket".to_owned(),
            |connecting| super::words::name_of(&connecting.name),
        ),
    }
}

fn forgotten(server: &Attention<'_>, certainty: Certainty) -> Verdict {
    let name = holders(server);
    let headline = format!("{name} is idle, and nobody in it looks at this connection");
    let mut verdict = Verdict::new(Code::Forgotten, certainty, headline);
    for waiter in server.others.iter().take(2) {
        verdict = verdict.evidence([doing(*waiter)]);
    }
    if let Some(one) = server.sleeping_loops().next() {
        let names = one.registration.names();
        verdict = verdict.fact(source::EPOLL, format!("fd {} is registered for {names}", one.fd));
    }
    verdict
        .inferred("it answered, or gave up, and did not close")
        .fix("server: close the connection on every way out of the handler")
        .fix("client: stop after one reply; do not read until the end of the stream")
}

/// The server's end is open only because another program inherited it.
fn leaked(facts: &Facts, server: &Attention<'_>) -> Option<Verdict> {
    /// Standard input, output and error are given to a program on purpose.
    const GIVEN: u32 = 2;
    let listener = facts.listener_of(server.socket)?;
    let owners: Vec<_> = facts.holders(listener.inode).map(|(process, _)| process).collect();
    let is_foreign = |(process, fd): &(&super::super::proc::Process, u32)| {
        *fd > GIVEN
            && owners.iter().all(|owner| {
                owner.pid != process.pid
                    && matches!((owner.program, process.program), (Some(a), Some(b)) if a != b)
            })
    };
    let is_leak = !owners.is_empty()
        && !owners.iter().any(|owner| server.holds(owner.pid))
        && server.holders.iter().all(is_foreign);
    is_leak.then(|| {
        // The service manager hands connections over on purpose, and keeps the listener.
        let by_manager = owners.iter().any(|owner| owner.pid == 1);
        let certainty = if by_manager { Certainty::Likely } else { Certainty::Certain };
        let name = holders(server);
        let owner = owners.iter().map(|owner| who(owner)).collect::<Vec<_>>().join(", ");
        let headline = format!(
            "{owner} closed the connection, but {name} inherited the descriptor: no end can arrive"
        );
        let mut verdict = Verdict::new(Code::FdLeaked, certainty, headline)
            .fact(source::DESCRIPTORS, format!("only {name} holds the server's end"))
            .fix("server: open and accept with close-on-exec (SOCK_CLOEXEC)");
        for (process, _) in &server.holders {
            verdict = verdict.now(format!("kill {}", process.pid));
        }
        verdict
    })
}
