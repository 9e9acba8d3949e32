//! A server of unhang's that has said what its handler waits for: a program, a worker, another server, or
//! its turn.

use super::chain::{self, Chain, at};
use super::code::Code;
use super::finding::{Certainty, Evidence, Hop, Verdict};
use super::need::Need;
use super::words::{owners, source, who};
use crate::cmd::why::ask::server::waits::{Behind, ServerReport};
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::Facts;
use crate::cmd::why::see::process::Process;

/// What keeps the handler, followed to its end. None: the server has not said, or what it said does not fit
/// what is seen.
pub(super) fn judge(
    facts: &Facts,
    report: ServerReport,
    server: &Endpoint<'_>,
    need: Need,
) -> Option<Verdict> {
    match report.behind? {
        Behind::Process(pid) => {
            // A word explains only what is seen: a stranger's process is not its worker.
            let process = facts.processes.get(&pid).filter(|one| one.parent == report.pid)?;
            let has_it = format!("{} has the request", who(process));
            Some(verdict(server, need, &has_it, chain::of_process(facts, process)))
        }
        Behind::Descriptor(fd) => {
            let descriptors = facts.processes.get(&report.pid)?.descriptors.as_ref()?;
            let inode = descriptors.inode(fd)?;
            if !facts.sockets.contains_key(&inode) {
                return Some(network(server, need));
            }
            let waits = format!("it waits for {}", at(facts, inode));
            Some(verdict(server, need, &waits, chain::behind(facts, server, inode)))
        }
        Behind::Place => busy(facts, report, server, need),
        Behind::Call(_) => Some(elsewhere(facts, server, need)),
    }
}

fn verdict(server: &Endpoint<'_>, need: Need, what: &str, chain: Chain) -> Verdict {
    let name = owners(server);
    let last = chain.links.last().filter(|link| !link.does.is_empty());
    let end = match (chain.links.len(), last) {
        (1, Some(last)) => format!(", and {}", last.does),
        (_, Some(last)) => format!("; at the end {}[{}] {}", last.name, last.pid, last.does),
        (_, None) => String::new(),
    };
    let headline = format!("{name} has left the client waiting: {what}{end}");
    let certainty = if chain.is_held_up { Certainty::Certain } else { Certainty::Possible };
    let mut verdict = Verdict::new(Code::HandlerWaitsBackend, certainty, headline)
        .fault(chain.is_held_up && need >= Need::Sole)
        .evidence(chain.hops)
        .fix("look at the end of the chain: what that waits for needs a deadline, below the client's");
    verdict.now = chain.now;
    verdict.chain = chain.links;
    verdict
}

fn network(server: &Endpoint<'_>, need: Need) -> Verdict {
    let name = owners(server);
    let headline = format!("{name} has left the client waiting: it waits for a network peer");
    Verdict::new(Code::HandlerWaitsBackend, Certainty::Certain, headline)
        .fault(need >= Need::Sole)
        .fix("look at the server behind; `unhang serve --handler-deadline` bounds the wait")
}

/// The call is on another machine, and the worker there was asked.
fn elsewhere(facts: &Facts, server: &Endpoint<'_>, need: Need) -> Verdict {
    /// What comes from another machine is not ours to trust.
    const MOST_LINES: usize = 40;
    let said = facts.details.calls.get(&server.socket.inode);
    let mut lines = said.map_or("", |said| said).lines().take(MOST_LINES).map(printable);
    let first = lines.next().unwrap_or_else(|| "it waits for a call on another machine".to_owned());
    let headline = format!("{} has left the client waiting: {first}", owners(server));
    let there =
        lines.map(|text| Evidence { text: text.trim().to_owned(), source: Some(source::WORKER) });
    Verdict::new(Code::HandlerWaitsBackend, Certainty::Certain, headline)
        .fault(need >= Need::Sole)
        .evidence(there)
        .fix("look at the worker on its machine; `unhang serve --handler-deadline` bounds the wait")
}

fn printable(line: &str) -> String {
    /// Longer, and nobody reads it.
    const LONGEST: usize = 300;
    line.chars().take(LONGEST).map(|one| if one.is_control() { '?' } else { one }).collect()
}

/// Of a process that has a request of another machine's: what it is at, followed to its end. For the
/// machine that waits.
pub(crate) fn of_process(facts: &Facts, pid: u32) -> Option<Verdict> {
    let process = facts.processes.get(&pid)?;
    let chain = chain::of_process(facts, process);
    let last = chain.links.last().filter(|link| !link.does.is_empty());
    let does = match (chain.links.len(), last) {
        (1, Some(last)) => format!(", and {}", last.does),
        (_, Some(last)) => format!("; at the end {}[{}] {}", last.name, last.pid, last.does),
        (_, None) => String::new(),
    };
    let headline = format!("{} has the request{does}", who(process));
    let certainty = if chain.is_held_up { Certainty::Certain } else { Certainty::Possible };
    let mut verdict =
        Verdict::new(Code::HandlerWaitsBackend, certainty, headline).evidence(chain.hops);
    verdict.now = chain.now;
    verdict.chain = chain.links;
    Some(verdict)
}

/// All that could answer are at other requests.
fn busy(facts: &Facts, report: ServerReport, server: &Endpoint<'_>, need: Need) -> Option<Verdict> {
    /// Of more, nobody reads.
    const SHOWN: usize = 8;
    let workers: Vec<&Process> = facts.children(report.pid).collect();
    if workers.is_empty() {
        return None;
    }
    let name = owners(server);
    let count = workers.len();
    let have = match count {
        1 => "its only worker has another request".to_owned(),
        _ => format!("each of its {count} workers has another request"),
    };
    let headline = format!("{name} has left the client waiting: {have}");
    let mut verdict = Verdict::new(Code::HandlerWaitsBackend, Certainty::Likely, headline).fix(
        "find what its workers wait for, and give that a deadline; more workers only put it off",
    );
    let mut links: Vec<Hop> = Vec::new();
    let mut are_held_up = true;
    for worker in workers.into_iter().take(SHOWN) {
        let chain = chain::of_process(facts, worker);
        are_held_up &= chain.is_held_up;
        verdict = verdict.evidence(chain.hops);
        verdict.now.extend(chain.now);
        links.extend(chain.links);
    }
    verdict.chain = links;
    Some(verdict.fault(are_held_up && need >= Need::Sole))
}
