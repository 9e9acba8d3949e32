//! A listener: whether its name still leads to it, and whether it lets its clients in.

use super::cause::{self, Cause};
use super::code::Code;
use super::fastcgi::is_worker;
use super::finding::{Certainty, End, Evidence, LONG, Verdict};
use super::unread_bytes::stopped;
use super::words::{self, blocked_end, end, name_of, source, thread_does, who};
use crate::cmd::why::endpoint::{Endpoint, WaitingThread};
use crate::cmd::why::facts::{Activity, Connecting, Facts};
use crate::cmd::why::see::path_state::PathState;
use crate::cmd::why::see::process::Process;
use crate::cmd::why::see::process::call::Call;
use crate::cmd::why::target::Target;
use crate::sock_diag::{LEFT, Socket};

pub(super) fn judge(facts: &Facts, target: &Target, listener: &Socket) -> Vec<Verdict> {
    let endpoint = Endpoint::of(facts, listener);
    let mut verdicts = Vec::new();
    // A user that asks by path asks about the file that is there now.
    if !matches!(target, Target::File(_)) {
        verdicts.extend(path_state(facts, &endpoint, false));
    }
    verdicts.extend(queue(facts, &endpoint));
    verdicts
}

/// Its name does not lead to it any more. That alone keeps nobody waiting, as a link, another mount or
/// a rename to another directory may: so it is a fault only for a user who asks about that name.
pub(super) fn path_state(
    facts: &Facts,
    endpoint: &Endpoint<'_>,
    is_asked: bool,
) -> Option<Verdict> {
    let name = words::owners(endpoint);
    let path = name_of(&endpoint.socket.name);
    let verdict = match facts.path_states.get(&endpoint.socket.inode)? {
        PathState::Same | PathState::Renamed(_) => return None,
        PathState::Other(now) => {
            let is_served = facts.listeners().any(|one| one.file == Some(*now));
            replaced(endpoint, &name, &path).fault(is_asked && !is_served)
        }
        PathState::Missing(_) => {
            let headline = format!(
                "{name} listens, but its name {path} is gone; it may have another elsewhere"
            );
            Verdict::new(Code::NoSuchFile, Certainty::Certain, headline)
                .fault(is_asked)
                .fact(source::FILE, format!("no file {path}, nor another name of it beside"))
                .fix("if that name was deleted: let only the server remove its socket; restart it")
        }
    };
    Some(with_server(verdict, endpoint))
}

/// It was bound to a name that now leads to another file.
fn replaced(endpoint: &Endpoint<'_>, name: &str, path: &str) -> Verdict {
    let headline =
        format!("{name} listens on a socket whose name {path} now leads to another file");
    let bound = endpoint.socket.file.map_or(0, |file| file.inode);
    Verdict::new(Code::ReplacedFile, Certainty::Certain, headline)
        .fact(source::DIAG, format!("it is bound to inode {bound}"))
        .fact(source::FILE, format!("{path} is another inode"))
        .inferred("clients of that name go to the other; this one may have a name elsewhere")
        .fix("an old server that has not ended: end it; before binding, prove that nobody listens")
}

fn with_server(mut verdict: Verdict, endpoint: &Endpoint<'_>) -> Verdict {
    verdict.server = Some(end(endpoint));
    verdict
}

/// Clients that connected, or try to, and that nobody lets in.
fn queue(facts: &Facts, endpoint: &Endpoint<'_>) -> Option<Verdict> {
    let listener = endpoint.socket;
    let is_told = !listener.pending.is_empty();
    // Only clients that have been there since the first sample were left waiting. They are the first
    // in the queue still, as nobody was accepted.
    let first = facts.queued_first.get(&listener.inode).copied().unwrap_or_default();
    let first = first.min(listener.unread) as usize;
    if first == 0 || !facts.is_steady(listener.inode) {
        return None;
    }
    let queued = listener.pending.get(..first).unwrap_or(&listener.pending);
    // Nobody is known to be in his place; but nobody is accepted by threads that stand still.
    if !is_told && !stands_still(facts, endpoint) {
        return endpoint.is_hidden.then(|| {
            let name = words::owners(endpoint);
            Verdict::unseen(format!(
                "whether {name} accepts any of {first} clients may not be seen"
            ))
        });
    }
    let pending = queued.iter().filter_map(|inode| facts.sockets.get(inode));
    let mut clients: Vec<End> = pending.map(|client| end(&Endpoint::of(facts, client))).collect();
    let blocked: Vec<_> = facts.connecting.iter().filter(|one| leads_to(one, listener)).collect();
    clients.extend(blocked.iter().map(|one| blocked_end(facts, one.thread, "connect", "connect")));

    let left = queued.iter().filter(|client| **client == LEFT).count();
    let inside = if is_told { queued.len() - left } else { first };
    let waiting = inside + blocked.len();
    let mut verdict = why(facts, endpoint, waiting);
    let ages: Vec<_> = clients.iter().filter_map(|end| end.since).collect();
    if verdict.certainty < Certainty::Certain && ages.is_empty() {
        return None;
    }
    // Not to have accepted for a moment is no fault.
    verdict.is_young = !ages.is_empty() && ages.iter().all(|since| *since < LONG);
    let (length, backlog) = (listener.unread, listener.in_flight);
    let full = if length > backlog { ": full" } else { "" };
    let left = if left > 0 { format!(", {left} of them have left") } else { String::new() };
    let text = format!("accept queue: {length} wait{left}, the backlog is {backlog}{full}");
    verdict.evidence.insert(0, Evidence { text, source: Some(source::DIAG) });
    if !blocked.is_empty() {
        let text = format!("{} blocked in connect()", blocked.len());
        verdict = verdict.fact(source::CALL, text);
    }
    if waiting == 0 {
        verdict = verdict.fault(false);
    }
    if !is_told {
        verdict = verdict.inferred("who they are is not known: the kernel does not name so many");
    }
    verdict.clients = clients;
    Some(with_server(verdict, endpoint))
}

fn stands_still(facts: &Facts, endpoint: &Endpoint<'_>) -> bool {
    let mut threads = endpoint.owners.iter().flat_map(|(process, _)| &process.threads);
    !endpoint.owners.is_empty() && threads.all(|thread| facts.activity(thread) == Activity::Still)
}

fn leads_to(connecting: &Connecting, listener: &Socket) -> bool {
    match listener.file {
        Some(file) => connecting.file == Some(file),
        None => connecting.name == listener.name,
    }
}

fn why(facts: &Facts, endpoint: &Endpoint<'_>, count: usize) -> Verdict {
    let name = words::owners(endpoint);
    let wait = match count {
        0 => "nobody waits any more",
        1 => "1 client waits",
        _ => &*format!("{count} clients wait"),
    };
    if endpoint.is_stopped() {
        let mut verdict = stopped(endpoint);
        let how = verdict.headline.rsplit(' ').next().unwrap_or("stopped").to_owned();
        verdict.headline = format!("{wait} to be accepted by {name}, which is {how}");
        return verdict;
    }
    if let Some((process, _)) = endpoint.owners.iter().find(|(one, _)| one.is_at_limit()) {
        let limit = process.limit.unwrap_or(0);
        let headline = format!(
            "{wait} to be accepted by {name}, which has no descriptor left (limit {limit})"
        );
        // Where others could accept, too, that they do not has a cause of its own.
        let is_cause = endpoint.owners.iter().all(|(one, _)| one.is_at_limit());
        let certainty = if is_cause { Certainty::Certain } else { Certainty::Likely };
        return Verdict::new(Code::FdLimit, certainty, headline)
            .fact(source::LIMITS, format!("{} has as many descriptors as it may", who(process)))
            .fix(
                "find the descriptors it does not close; raise the limit (LimitNOFILE=, ulimit -n)",
            )
            .now(raise(process, limit.saturating_mul(2)));
    }
    let listener = endpoint.socket;
    let (code, full) = match listener.unread > listener.in_flight {
        true => (Code::BacklogFull, ", whose accept queue is full: the next connect() blocks"),
        false => (Code::NotAccepted, ""),
    };
    let headline = format!("{wait} to be accepted by {name}{full}");
    explain(facts, endpoint, Verdict::new(code, Certainty::Certain, headline))
}

/// Both limits are named: `prlimit` with one number would lower the hard one to it, for ever.
fn raise(process: &Process, limit: u64) -> String {
    let hard = process.hard_limit.map(|hard| hard.max(limit).to_string());
    let hard = hard.as_deref().unwrap_or("unlimited");
    format!("prlimit --pid {} --nofile={limit}:{hard}", process.pid)
}

/// What the server does instead of accepting.
fn explain(facts: &Facts, endpoint: &Endpoint<'_>, mut verdict: Verdict) -> Verdict {
    let name = words::owners(endpoint);
    if let Some(verdict) = leftover(facts, endpoint, &verdict) {
        return verdict;
    }
    if let Some(one) = endpoint.sleeping_loops().next() {
        let names = one.registration.names();
        let text = format!("its event loop sleeps, and watches the listener for {names}");
        verdict = verdict.fact(source::EPOLL, text);
        return match one.registration.is_edge_triggered() {
            true => verdict
                .inferred(
                    "such a loop is woken only by one more client: it has left these, or lets \
                     nobody in for now, as it is full",
                )
                .fix("server: after each edge accept until EAGAIN; where it is full, allow more at once"),
            false => verdict.fix("server: arm the listener again once there is room"),
        };
    }
    match cause::of(facts, endpoint) {
        (Cause::Hidden, _) => {
            verdict = verdict
                .inferred(format!("why {name} does not accept may not be seen"))
                .doubt("waiting: certain · cause: not visible");
        }
        (Cause::Moving, _) => {
            verdict.certainty = Certainty::Likely;
            verdict = verdict
                .inferred(format!("{name} is at work, but not on accepting"))
                .doubt("waiting: certain · that the server will not come to it: likely");
        }
        _ if is_pool(endpoint) => return pool(facts, endpoint, verdict),
        _ => {
            for waiter in endpoint.others.iter().take(3) {
                let text = format!("{} {}", who(waiter.process), thread_does(&waiter));
                verdict = verdict.fact(source::CALL, text);
            }
            let sleeps = |one: WaitingThread<'_>| matches!(one.thread.call, Call::Epoll(_));
            if endpoint.loops.is_empty() && endpoint.others.iter().any(sleeps) {
                return verdict
                    .inferred("its event loop does not watch the listener for now, as if it is full")
                    .fix("server: watch the listener again once there is room; where it is full, allow more at once");
            }
        }
    }
    verdict.fix("server: accept in a loop or thread of its own, which never does anything else")
}

/// The server has ended, and a child that it left behind keeps its listener: no client is refused, and none
/// is served.
fn leftover(facts: &Facts, endpoint: &Endpoint<'_>, verdict: &Verdict) -> Option<Verdict> {
    let made_by = *facts.details.listened.get(&endpoint.socket.inode)?;
    let uses_it = |process: &Process| {
        let is_it = |fd: u32| process.inode(fd) == Some(endpoint.socket.inode);
        process.threads.iter().any(|thread| matches!(thread.call, Call::Accept(fd) if is_it(fd)))
    };
    let has_a_hand_on_it = endpoint.holds(made_by)
        || !endpoint.loops.is_empty()
        || endpoint.is_hidden
        || endpoint.processes().any(uses_it);
    if has_a_hand_on_it {
        return None;
    }
    let name = words::owners(endpoint);
    let mut verdict = verdict.clone();
    verdict.certainty = Certainty::Likely;
    for waiter in endpoint.others.iter().take(3) {
        let text = format!("{} {}", who(waiter.process), thread_does(&waiter));
        verdict = verdict.fact(source::CALL, text);
    }
    let pids: Vec<_> = endpoint.processes().map(|process| process.pid.to_string()).collect();
    Some(
        verdict
            .fact(source::LISTENED, format!("process {made_by} called listen(), and has it no more"))
            .inferred(format!(
                "{name} inherited the listener of a server that has ended; or it is that server, which \
                 became a daemon, and is stuck"
            ))
            .fix(format!(
                "if {name} is not the server, end it (kill {}), and start the server again",
                pids.join(" ")
            ))
            .fix("server: open its listener with close-on-exec (SOCK_CLOEXEC), and end its children with it"),
    )
}

/// Several processes of one parent accept here, each for itself.
fn is_pool(endpoint: &Endpoint<'_>) -> bool {
    workers(endpoint).nth(1).is_some() || endpoint.processes().any(|one| is_worker(&one.name))
}

/// Those that are not another's parent.
fn workers<'a>(endpoint: &Endpoint<'a>) -> impl Iterator<Item = &'a Process> {
    let parents: Vec<u32> = endpoint.processes().map(|process| process.parent).collect();
    endpoint.processes().filter(move |process| !parents.contains(&process.pid))
}

/// What each worker of a pool is at: one line each, and the client that keeps one by its silence.
fn pool(facts: &Facts, endpoint: &Endpoint<'_>, mut verdict: Verdict) -> Verdict {
    /// Of more, nobody reads.
    const SHOWN: usize = 8;
    let count = workers(endpoint).count();
    let mut is_kept_by_clients = false;
    for worker in workers(endpoint).take(SHOWN) {
        let does = endpoint.others.iter().find(|one| one.process.pid == worker.pid);
        let text = match does {
            _ if worker.is_stopped() => format!("{} is stopped", who(worker)),
            Some(waiter) => {
                let kept_by = kept_by(facts, &waiter);
                is_kept_by_clients |= kept_by.is_some();
                let by = kept_by
                    .map_or(String::new(), |client| format!(": its client {client} is silent"));
                format!("{} {}{by}", who(worker), thread_does(&waiter))
            }
            None => continue,
        };
        verdict = verdict.fact(source::CALL, text);
        if worker.is_stopped() {
            verdict = verdict.now(format!("kill -CONT {}", worker.pid));
        }
    }
    verdict = verdict
        .inferred(format!("it is a pool of {count} processes, and none of them has accepted"));
    if endpoint.processes().any(|process| is_worker(&process.name)) {
        return verdict
            .fix("find why its pages are slow: the findings beside this name the line of each")
            .fix("php-fpm: request_terminate_timeout; pm.max_children only puts it off");
    }
    if is_kept_by_clients {
        verdict =
            verdict.fix("server: a deadline for reading, so that a silent client keeps no worker");
    }
    verdict.fix(
        "find what its workers wait for, and give that a deadline; more workers only put it off",
    )
}

/// The client that a worker waits to hear from.
fn kept_by(facts: &Facts, waiter: &WaitingThread<'_>) -> Option<String> {
    let fd = match &waiter.thread.call {
        Call::Read(fd) => *fd,
        Call::Poll(Some(watches)) => match watches[..] {
            [watch] => watch.fd,
            _ => return None,
        },
        _ => return None,
    };
    let inode = waiter.process.inode(fd)?;
    let socket = facts.sockets.get(&inode).filter(|socket| facts.is_accepted(socket))?;
    let (process, _) = facts.owners(socket.peer_inode()?).next()?;
    Some(who(process))
}
