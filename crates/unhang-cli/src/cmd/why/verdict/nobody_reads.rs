//! Nobody in the server looks at the connection, and the client waits: what does the server do
//! instead?

use super::cause::{self, Cause};
use super::chain::at;
use super::code::Code;
use super::finding::{Certainty, Evidence, Verdict};
use super::need::Need;
use super::words::{call, owners, source, thread_does, who};
use super::{chain, leaked_descriptor};
use crate::cmd::why::endpoint::{Endpoint, Loop, WaitingThread};
use crate::cmd::why::facts::Facts;
use crate::cmd::why::see::process::Process;

/// It knows better than anybody outside what its processes wait for.
const ASK_POSTGRES: &str = "ask it: select pid, wait_event_type, wait_event, pg_blocking_pids(pid), query \
     from pg_stat_activity; statement_timeout and lock_timeout bound such waits";

/// No thread and no loop of the server looks at the connection.
pub(super) fn judge(facts: &Facts, server: &Endpoint<'_>, need: Need) -> Option<Verdict> {
    if server.is_unheld() {
        let headline = "no process holds the server's end: it lies in a message that nobody took";
        return (need >= Need::Sole).then(|| {
            Verdict::new(Code::Forgotten, Certainty::Likely, headline)
                .fact(source::DESCRIPTORS, "found in no process")
        });
    }
    if let Some(verdict) = leaked_descriptor::leaked(facts, server) {
        return Some(verdict);
    }
    let giver = leaked_descriptor::giver(facts, server);
    let (cause, certainty) = cause::of(facts, server);
    let certainty = match need {
        Need::Direct if giver.is_none() => certainty,
        Need::Direct | Need::Sole => certainty.min(Certainty::Likely),
        _ => certainty.min(Certainty::Possible),
    };
    let verdict = by_cause(facts, server, need, cause, certainty)?;
    Some(match giver {
        Some(giver) => or_inherited(verdict, giver, server),
        None => verdict,
    })
}

/// Of a process that did not accept the connection itself, only it knows whether it is to answer.
fn or_inherited(verdict: Verdict, giver: &Process, server: &Endpoint<'_>) -> Verdict {
    let name = owners(server);
    let verdict = verdict
        .inferred(format!(
            "or {} has closed it, and it is open only because {name} inherited it",
            who(giver)
        ))
        .fix(format!(
            "if {name} was not meant to have it: server: open and accept with close-on-exec \
             (SOCK_CLOEXEC); close in a forked child what is not its own"
        ));
    match (&verdict.doubt, verdict.certainty) {
        (Some(_), _) | (None, Certainty::Unknown) => verdict,
        (None, certainty) => verdict.doubt(format!(
            "{}: {name} may be its handler, or have only inherited the descriptor",
            certainty.name()
        )),
    }
}

pub(super) fn by_cause(
    facts: &Facts,
    server: &Endpoint<'_>,
    need: Need,
    cause: Cause<'_>,
    certainty: Certainty,
) -> Option<Verdict> {
    // A server at work does not hang; and a client that waits among others is only to be told of
    // where its server has nothing else to do.
    if need == Need::Shared && !matches!(cause, Cause::Idle) {
        return None;
    }
    let name = owners(server);
    let blocked = |code, what: &str| {
        Verdict::new(code, certainty, format!("{name} has left the client waiting: it {what}"))
            .inferred("nothing lies unread: it has read the request, or none was sent")
    };
    Some(match cause {
        Cause::Moving => {
            let headline =
                format!("{name} is at work, and has not answered: whether it will is not known");
            return at_work(server, need).then(|| {
                Verdict::new(Code::HandlerBlocked, Certainty::Possible, headline)
                    .inferred("nothing lies unread: it has read the request, or none was sent")
                    .fix("look again with --for 5s; server: a deadline for each request")
            });
        }
        Cause::Hidden => {
            Verdict::unseen(format!("what {name} does instead of answering may not be seen"))
        }
        Cause::Idle => forgotten(server, certainty),
        Cause::Blocked(waiter) => {
            blocked(Code::HandlerBlocked, &call(waiter.process, waiter.thread))
                .evidence([doing(waiter)])
                .fix(match waiter.process.name.starts_with("postgres") {
                    true => ASK_POSTGRES,
                    false => {
                        "server: give what the handler waits for a deadline, below the client's"
                    }
                })
        }
        Cause::Computing(waiter) if ignores_half_close(server) => {
            let headline = format!(
                "{name} spins: the client has half-closed, and its event loop is woken for that again \
                 and again"
            );
            Verdict::new(Code::HandlerCpu, certainty, headline)
                .evidence([doing(waiter)])
                .fact(source::DIAG, "the client has half-closed, and nothing lies unread")
                .fix("server: read to the end (an empty read), then answer and close")
        }
        Cause::Computing(waiter) if waits_for_room(server) => {
            let headline = format!(
                "{name} spins: its event loop is woken as there is room to write, again and again"
            );
            Verdict::new(Code::HandlerCpu, certainty, headline)
                .evidence([doing(waiter)])
                .fact(source::EPOLL, "registered for EPOLLOUT without EPOLLET, and there is room")
                .inferred("or it computes something for this client, and comes back to its loop later")
                .fix("server: take EPOLLOUT away once all is written (EPOLL_CTL_MOD), and ask for it again only after EAGAIN")
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

/// A loop that is not edge-triggered is told of an end that it does not read for ever.
fn ignores_half_close(server: &Endpoint<'_>) -> bool {
    let tells = |one: &Loop<'_>| one.registration.reads() && !one.registration.is_edge_triggered();
    server.socket.shut_read && server.socket.unread == 0 && server.loops.iter().any(tells)
}

/// A loop that is not edge-triggered is told for ever that there is room for more.
fn waits_for_room(server: &Endpoint<'_>) -> bool {
    let tells = |one: &Loop<'_>| one.registration.writes() && !one.registration.is_edge_triggered();
    !server.socket.shut_write && server.loops.iter().any(tells)
}

/// One program with one connection left for long is told of; of many, most will be idle.
fn at_work(server: &Endpoint<'_>, need: Need) -> bool {
    need == Need::Direct && server.sleeping_loops().next().is_none()
}

pub(super) fn doing(waiter: WaitingThread<'_>) -> Evidence {
    let WaitingThread { process, thread, .. } = waiter;
    let name = match thread.name.is_empty() || thread.name == process.name {
        true => String::new(),
        false => format!(" ({})", thread.name),
    };
    let text = format!("{} thread {}{name} {}", who(process), thread.tid, thread_does(&waiter));
    Evidence { text, source: Some(source::CALL) }
}

fn backend(
    facts: &Facts,
    server: &Endpoint<'_>,
    waiter: WaitingThread<'_>,
    inode: u32,
    certainty: Certainty,
) -> Verdict {
    let name = owners(server);
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
    let mut verdict = Verdict::new(Code::HandlerWaitsBackend, certainty, headline)
        .fact(
            source::CALL,
            format!("{} {}", who(waiter.process), call(waiter.process, waiter.thread)),
        )
        .evidence(chain.hops)
        .fix(fix);
    (verdict.chain, verdict.now) = (chain.links, chain.now);
    verdict
}

fn forgotten(server: &Endpoint<'_>, certainty: Certainty) -> Verdict {
    let name = owners(server);
    let headline = format!("{name} is idle, and nobody in it looks at this connection");
    let mut verdict = Verdict::new(Code::Forgotten, certainty, headline);
    for waiter in server.others.iter().take(2) {
        verdict = verdict.evidence([doing(waiter)]);
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
