//! On a machine whose processors are taken, a process that wants one stands as still as one that hangs.

use super::finding::Verdict;
use super::words::{source, who};
use crate::cmd::why::facts::{Activity, Facts};
use crate::cmd::why::see::process::Process;

/// Whether the process hangs is seen once it gets a processor: until then it is no fault. What was seen of the sockets
/// stays true.
pub(super) fn temper(facts: &Facts, verdict: Verdict) -> Verdict {
    if !verdict.is_fault {
        return verdict;
    }
    let ends = verdict.clients.iter().chain(&verdict.server).flat_map(|end| &end.owners);
    let mut pids = ends.map(|held| held.pid).chain(verdict.chain.iter().map(|hop| hop.pid));
    let Some(process) = pids.find_map(|pid| starved(facts, pid)) else { return verdict };
    let name = who(process);
    let mut verdict = verdict
        .fault(false)
        .doubt(format!("seen as it is · whether it hangs: not known, as {name} gets no processor"))
        .fact(source::SCHED, format!("{name} wants a processor, and got less than a fifth of one"));
    verdict.fix =
        vec!["see what takes the processors (top), and look again when one is free".to_owned()];
    // A restart or a shut connection would cost a client its answer.
    verdict.now.clear();
    verdict
}

/// This process, if one of its threads wanted a processor all the while. Any of them: the others may wait for it.
fn starved(facts: &Facts, pid: u32) -> Option<&Process> {
    let process = facts.processes.get(&pid).filter(|process| !process.is_stopped())?;
    let is_starved = |thread| facts.activity(thread) == Activity::Starved;
    process.threads.iter().any(is_starved).then_some(process)
}
