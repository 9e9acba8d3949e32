//! Which process waits for which, to the end: a server that is held up by another, and that one by a third.

use super::cause::{self, Cause};
use super::finding::Evidence;
use super::upstream;
use super::words::{lasting, name_of, owners, source, thread_does, who};
use crate::cmd::why::endpoint::{Endpoint, WaitingThread};
use crate::cmd::why::facts::Facts;
use crate::sock_diag::Socket;

/// Where following ends.
pub(super) struct Chain {
    pub(super) hops: Vec<Evidence>,
    /// The names around the circle, where the last waits for the first.
    pub(super) circle: Option<Vec<String>>,
}

/// Follows a thread that waits for the other end of the socket `inode`.
pub(super) fn follow(facts: &Facts, waiter: WaitingThread<'_>, inode: u32) -> Chain {
    let mut chain = Chain { hops: Vec::new(), circle: None };
    let mut passed = vec![(waiter.thread.tid, who(waiter.process))];
    let mut next = Some(inode);
    while let Some(inode) = next {
        next = step(facts, inode, &mut passed, &mut chain);
    }
    chain
}

/// Follows an event loop that waits, as a client, for the other end of the socket `inode`.
pub(super) fn behind(facts: &Facts, front: &Endpoint<'_>, inode: u32) -> Vec<Evidence> {
    let mut chain = Chain { hops: Vec::new(), circle: None };
    let sleepers = front.sleeping_loops().filter_map(|one| one.sleeper);
    let mut passed: Vec<_> = sleepers.map(|one| (one.thread.tid, who(one.process))).collect();
    let mut next = Some(inode);
    while let Some(inode) = next {
        next = step(facts, inode, &mut passed, &mut chain);
    }
    chain.hops
}

fn step(
    facts: &Facts,
    inode: u32,
    passed: &mut Vec<(u32, String)>,
    chain: &mut Chain,
) -> Option<u32> {
    let hop = |text: String| Evidence { text, source: Some(source::CALL) };
    let socket = facts.sockets.get(&inode)?;
    let far = match (socket.peer_inode(), facts.queue_of(inode)) {
        (Some(peer), _) => facts.sockets.get(&peer),
        (None, Some(listener)) => Some(listener),
        (None, None) => None,
    };
    let Some(far) = far else {
        chain.hops.push(hop("the other end of that is not to be seen".to_owned()));
        return None;
    };
    let endpoint = Endpoint::of(facts, far);
    let name = owners(&endpoint);
    if endpoint.is_stopped() {
        chain.hops.push(hop(format!("{name} is stopped: the end of the chain")));
        return None;
    }
    if let Some(reader) = endpoint.readers.first() {
        let lasting = lasting(reader.thread.since);
        chain
            .hops
            .push(hop(format!("{name} waits to read from it, too{lasting}: each side waits")));
        return None;
    }
    if let Some(one) = endpoint.reading_loop() {
        let is_new = |tid: u32| passed.iter().all(|(other, _)| *other != tid);
        let sleeper = one.sleeper.filter(|one| is_new(one.thread.tid));
        if let (Some(sleeper), Some(next)) =
            (sleeper, upstream::held_up(facts, &endpoint).first().copied())
        {
            let to = at(facts, next);
            chain.hops.push(hop(format!("{name}: its event loop itself waits for {to}")));
            passed.push((sleeper.thread.tid, who(sleeper.process)));
            return Some(next);
        }
        chain
            .hops
            .push(hop(format!("{name} watches it in an event loop: the end of what is seen")));
        return None;
    }
    let (cause, _) = cause::of(facts, &endpoint);
    let waiter = match cause {
        Cause::Blocked(waiter) | Cause::Computing(waiter) | Cause::Network(waiter) => {
            chain.hops.push(hop(format!("{name} {}: the end of the chain", thread_does(&waiter))));
            return None;
        }
        Cause::Backend(waiter, _) => waiter,
        Cause::Idle => {
            chain.hops.push(hop(format!("{name} is idle and does not look at it")));
            return None;
        }
        Cause::Locked(_) | Cause::Moving | Cause::Hidden => {
            chain.hops.push(hop(format!("{name}: what it does about it is not to be seen")));
            return None;
        }
    };
    chain.hops.push(hop(format!("{name} {}", thread_does(&waiter))));
    if let Some(first) = passed.iter().position(|(tid, _)| *tid == waiter.thread.tid) {
        chain.circle = Some(passed[first..].iter().map(|(_, name)| name.clone()).collect());
        return None;
    }
    passed.push((waiter.thread.tid, who(waiter.process)));
    match cause {
        Cause::Backend(_, inode) => Some(inode),
        _ => None,
    }
}

/// The name of whatever a client's end is connected, or connecting, to.
pub(super) fn at(facts: &Facts, inode: u32) -> String {
    let socket = facts.sockets.get(&inode);
    let peer = socket.and_then(Socket::peer_inode).and_then(|peer| facts.sockets.get(&peer));
    let connecting = || facts.connecting.iter().find(|one| one.inode == inode);
    match (peer, facts.queue_of(inode)) {
        (Some(peer), _) if !peer.name.is_empty() => name_of(&peer.name),
        (_, Some(listener)) => name_of(&listener.name),
        _ => connecting()
            .map_or_else(|| "another socket".to_owned(), |connecting| name_of(&connecting.name)),
    }
}
