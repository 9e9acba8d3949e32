//! What must hold, whatever happens. The oracle does not read the server's mind: it compares what
//! the server says with what the sockets show.

pub(super) mod ending;
mod framing;

use std::time::{Duration, Instant};

use crate::event::{Cause, Ended, Event, Lost, Scarce};
use crate::handler::{Peer, Request};
use crate::limits::{ACCEPT_PAUSE, QUEUE_CHECK};

use super::plan::Observer;
use super::socket::{Facts, Socket};
use super::{World, clock};

#[cfg(test)]
pub(super) use ending::ENDINGS;

/// When the handler is asked.
pub(super) fn request(world: &World, id: u32, request: &Request) {
    let limits = &world.plan.limits;
    let violates = |what: &str| world.violates(format!("client {id}: {what}"));
    let Some(socket) = world.sockets.lock().unwrap()[id as usize].clone() else {
        return violates("asked without a connection");
    };
    let server = socket.facts().server;
    {
        let mut facts = socket.facts();
        if facts.asked.is_some() {
            violates("the handler was asked twice");
        }
        if let Err(what) = framing::check(world, &facts, request.bytes()) {
            violates(what);
        }
        if request.peer() != facts.peer {
            violates("the request names another peer");
        }
        if !may_ask(world, facts.peer) {
            violates("a client that may not ask was served");
        }
        if request.bytes().len() > limits.max_request {
            violates("a request longer than the limit was served");
        }
        facts.asked = Some((clock::now(), request.bytes().len()));
    }
    let busy = world.open(server).into_iter().filter(|socket| socket.facts().asked.is_some());
    let busy: Vec<_> = busy.collect();
    if busy.len() > limits.max_connections {
        violates("more are served than there are places");
    }
    let held = world.servers[server].gauges.request_bytes();
    if held > limits.max_held {
        violates("more bytes are held than may be");
    }
    let uid = request.peer().map(|peer| peer.uid);
    if of_user(&busy, uid) > limits.max_per_uid {
        violates("a user has more connections than one may have");
    }
}

/// When the server is about to say why it does not answer.
pub(super) fn refusal(world: &World, server: usize, cause: &Cause) {
    let gauges = &world.servers[server].gauges;
    let limits = &world.plan.limits;
    if matches!(cause, Cause::Busy(Scarce::Handlers { most }) if gauges.handlers() < *most) {
        world.violates("busy, though more handlers may run");
    }
    if let Cause::Busy(Scarce::Memory { most }) = cause {
        // By others: also by handlers that were told to end, and are still at it.
        let held = gauges.request_bytes();
        let unasked =
            world.open(server).into_iter().filter(|socket| socket.facts().asked.is_none());
        let own = unasked.map(|socket| socket.facts().seen).max().unwrap_or(0);
        if *most != limits.max_held || held + own <= limits.max_held {
            world.violates("busy, though all that was read may be held");
        }
    }
}

/// When the server tells of something.
pub(super) fn event(world: &World, server: usize, event: &Event) {
    match event {
        Event::Exchange(exchange) => {
            let id = exchange.peer.map_or(0, |peer| peer.pid);
            let Some(socket) = world.sockets.lock().unwrap()[id as usize].clone() else {
                return world.violates(format!("client {id}: an exchange without a connection"));
            };
            let uid = exchange.peer.map(|peer| peer.uid);
            if let Ended::Refused(Cause::Busy(Scarce::PerUser { most })) = exchange.ended {
                if of_user(&world.open(server), uid) < most {
                    world.violates(format!("client {id}: its user has not that many connections"));
                }
            }
            for what in ending::check(world, id, &mut socket.facts(), exchange) {
                world.violates(format!("client {id}: {what} ({:?})", exchange.ended));
            }
            *world.endings.lock().unwrap().entry(ending::name(&exchange.ended)).or_default() += 1;
        }
        Event::AcceptFailed(error) => {
            if !world.in_trouble() {
                world.violates(format!("no accept has failed: {error}"));
            }
        }
        Event::Draining { open, .. } => {
            let taken = world.open(server).len();
            if *open != taken {
                world.violates(format!("{open} places are taken by {taken}"));
            }
        }
        Event::SocketLost(Lost::Shut) if world.plan.shut.is_some() => {
            *world.lost.lock().unwrap() += 1;
        }
        _ => {
            world.violates(format!("there is no socket file here: {event:?}"));
        }
    }
}

/// When the server has stopped and every client left.
pub(super) fn after_all(world: &World) {
    for (id, socket) in world.sockets.lock().unwrap().iter().enumerate() {
        let Some(socket) = socket else { continue };
        let facts = socket.facts();
        for what in &facts.offences {
            world.violates(format!("client {id}: {what}"));
        }
        if facts.closed.is_none() {
            world.violates(format!("client {id}: never closed"));
        }
        let is_told = world.plan.observer != Observer::Missing;
        if facts.accepted.is_some() && is_told && facts.exchanges != 1 {
            world.violates(format!("client {id}: {} exchanges were told", facts.exchanges));
        }
        if facts.accepted.is_some_and(|at| at > latest_accept(world, &facts)) {
            world.violates(format!("client {id}: left waiting in the accept queue"));
        }
    }
    for server in &world.servers {
        if server.gauges.connections() != 0 || server.gauges.request_bytes() != 0 {
            world.violates(format!("the gauges are not back at zero: {:?}", server.gauges));
        }
        if !server.holds_nothing() {
            world.violates("bytes are held by nobody");
        }
    }
}

/// When a client that connected then must have been accepted. While accepting fails, none can be.
fn latest_accept(world: &World, facts: &Facts) -> Instant {
    let trouble = world.plan.trouble.map(|trouble| world.begun + trouble.ends + ACCEPT_PAUSE);
    let able = facts.connected.max(trouble.unwrap_or(facts.connected));
    // The kernel may have woken another server for it, that then could not accept it.
    let shared = if world.servers.len() > 1 { QUEUE_CHECK } else { Duration::ZERO };
    let latest = able + world.plan.limits.queue.max(shared);
    world.drained(facts).map_or(latest, |drained| latest.min(drained.max(able)))
}

fn may_ask(world: &World, peer: Option<Peer>) -> bool {
    let (uids, gids) = (&world.plan.uids, &world.plan.gids);
    let listed = |peer: Peer| uids.contains(&peer.uid) || gids.contains(&peer.gid);
    uids.is_empty() && gids.is_empty() || peer.is_some_and(listed)
}

fn of_user(sockets: &[Socket], uid: Option<u32>) -> usize {
    sockets.iter().filter(|socket| socket.facts().peer.map(|peer| peer.uid) == uid).count()
}
