//! A server that has its answers from another: nginx before php-fpm, `unhang serve --to` before a server.

use super::chain::{self, at};
use super::code::Code;
use super::finding::{Certainty, Verdict};
use super::need::Need;
use super::upstream::held_up;
use super::words::owners;
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::Facts;
use crate::cmd::why::see::process::Process;

/// The front's event loop has nothing to do but to wait for another server. Which of its clients waits for
/// which connection, only their numbers tell.
pub(super) fn judge(facts: &Facts, front: &Endpoint<'_>, need: Need) -> Option<Verdict> {
    let held_up = held_up(facts, front);
    let first = *held_up.first()?;
    if need == Need::Shared {
        return None;
    }
    let is_explained = !serves_networks(facts, front) && clients(facts, front) <= held_up.len();
    let certainty = if is_explained { Certainty::Likely } else { Certainty::Possible };
    let name = owners(front);
    let headline = format!(
        "{name} has left the client waiting: its event loop itself waits for {}",
        at(facts, first)
    );
    let chain = chain::behind(facts, front, first);
    let mut verdict = Verdict::new(Code::HandlerWaitsBackend, certainty, headline)
        .fault(is_explained && need >= Need::Sole)
        .evidence(chain.hops)
        .inferred("the event loop sleeps, and each side of this connection waits for the other");
    (verdict.chain, verdict.now) = (chain.links, chain.now);
    if !is_explained {
        verdict = verdict.inferred("it has other clients: which of them that is for is not known");
    }
    Some(verdict.fix("look at the end of the chain; give each call to a backend a deadline"))
}

/// How many clients its processes have let in.
fn clients(facts: &Facts, front: &Endpoint<'_>) -> usize {
    let accepted = |process: &Process| {
        let sockets = process.descriptors.iter().flat_map(|all| &all.sockets);
        let sockets = sockets.filter_map(|(_, inode)| facts.sockets.get(inode));
        sockets.filter(|socket| facts.is_accepted(socket)).count()
    };
    front.processes().map(accepted).sum()
}

/// It watches sockets that are not Unix sockets: clients may wait there, too.
fn serves_networks(facts: &Facts, front: &Endpoint<'_>) -> bool {
    front.processes().flat_map(|process| &process.descriptors).any(|descriptors| {
        let watched = descriptors.epolls.iter().flat_map(|epoll| &epoll.watched);
        watched
            .filter_map(|one| u32::try_from(one.inode).ok())
            .any(|inode| descriptors.find(inode).is_some() && !facts.sockets.contains_key(&inode))
    })
}
