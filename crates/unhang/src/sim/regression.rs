//! Worlds that once broke the promise, as small as they can be told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::io::Errno;

use crate::handler::Peer;
use crate::limits::{ACCEPT_PAUSE, Limits, QUEUE_CHECK, WORKER_CHECK};
use crate::wire::oneshot::Until;

use super::plan::{ClientPlan, Deed, Observer, Plan, Reading, Then, Trouble, Words};
use super::socket::{Facts, Socket};
use super::{World, clock, run, story};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// It did: a listener whose door is closed is readable for ever, so somebody seemed to wait, and
/// had always waited for too long. No connection was served any more, and no drain was ever over.
#[test]
fn a_stop_with_all_places_taken_and_no_patience_does_not_spin() {
    let mut plan = quiet(1);
    plan.limits.max_connections = 1;
    plan.limits.queue = Duration::ZERO;
    plan.clients[0].deed = Deed::Never;
    plan.stop = Some(ms(1));
    holds(plan);
}

/// They were reset: the accept that failed ended the drain, and the listener was closed over them.
#[test]
fn a_client_queued_when_the_drain_ends_without_descriptors_is_told() {
    for error in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
        let mut plan = quiet(2);
        plan.trouble = Some(Trouble { begins: ms(1), ends: ms(20), error, often: 100 });
        plan.clients[1].arrives = ms(2);
        plan.limits.drain = ms(5);
        plan.stop = Some(ms(5));
        holds(plan);
    }
}

/// They waited for their whole patience once more, and again, for as long as accepting failed when
/// the places were all taken.
#[test]
fn a_client_that_waits_for_a_place_while_accepting_fails_is_told_when_it_works_again() {
    let mut plan = quiet(2);
    plan.limits.max_connections = 1;
    plan.limits.queue = ms(100);
    plan.clients[0].deed = Deed::Never;
    plan.clients[1].arrives = ms(1);
    plan.trouble = Some(Trouble { begins: ms(1), ends: ms(102), error: Errno::NOMEM, often: 100 });
    let accepted = |plan| {
        let world = holds(plan);
        let sockets = world.sockets.lock().unwrap();
        let facts = sockets[1].as_ref().unwrap().facts();
        facts.accepted.unwrap() - facts.connected
    };
    assert_eq!(accepted(plan), ms(100) + ACCEPT_PAUSE);
}

/// It was told so at once: that the queue had become empty was not noticed while accepting failed,
/// and the patience of those before it counted as its own.
#[test]
fn a_client_that_comes_after_accepting_has_failed_has_all_of_its_own_patience() {
    let mut plan = quiet(4);
    plan.limits.max_connections = 1;
    plan.limits.queue = ms(100);
    plan.clients[0].thinks = ms(50);
    plan.clients[1].arrives = ms(1);
    plan.clients[2].arrives = ms(160);
    plan.clients[2].deed = Deed::Never;
    plan.clients[3].arrives = ms(161);
    plan.trouble = Some(Trouble { begins: ms(40), ends: ms(155), error: Errno::MFILE, often: 70 });
    // One in which the second client is accepted with the reserve descriptor, and no other try works.
    plan.seed = 17;
    holds(plan);
}

/// A handler that blocks its worker holds up nobody but its own client for longer than it takes to see it.
#[test]
fn while_a_handler_blocks_its_worker_others_are_served() {
    for workers in 1..4 {
        let mut plan = quiet(6);
        plan.workers = workers;
        plan.clients[0].deed = Deed::Block(10);
        plan.clients[0].thinks = ms(1000);
        for id in 1..6 {
            plan.clients[id].arrives = ms(id as u64);
        }
        let world = run(plan);
        for id in 1..6 {
            let took = closed(&world, id) - connected(&world, id);
            assert!(took <= 2 * WORKER_CHECK, "client {id} of {workers} workers: {took:?}");
        }
        assert_eq!(answered(&world), 6);
    }
}

/// It was told when its worker was back.
#[test]
fn a_client_whose_handler_blocks_is_told_at_its_deadline() {
    for workers in 0..3 {
        let mut plan = quiet(3);
        plan.workers = workers;
        plan.limits.handler = ms(100);
        for client in &mut plan.clients {
            client.deed = Deed::Block(10);
            client.thinks = ms(5000);
        }
        let world = run(plan);
        for id in 0..3 {
            let took = closed(&world, id) - connected(&world, id);
            assert!(took <= ms(100) + 3 * WORKER_CHECK, "client {id}: {took:?}");
        }
        assert_eq!(answered(&world), 0);
    }
}

/// Connections that are parked at a worker that is blocked are stepped by the watchdog.
#[test]
fn clients_that_write_late_are_served_though_their_worker_is_blocked() {
    let mut plan = quiet(3);
    plan.workers = 1;
    plan.clients[0].deed = Deed::Block(10);
    plan.clients[0].pieces = vec![(ms(10), Bytes::from_static(b"block"))];
    plan.clients[0].thinks = ms(1000);
    for id in 1..3 {
        plan.clients[id].pieces = vec![(ms(40), Bytes::from_static(b"late"))];
    }
    let world = run(plan);
    for id in 1..3 {
        assert!(closed(&world, id) - world.begun <= ms(40) + 3 * WORKER_CHECK, "client {id}");
    }
}

/// Another process that has the listener shuts it: connected clients are served, and the server ends.
#[test]
fn a_listener_that_is_shut_ends_no_server() {
    for workers in 0..3 {
        let mut plan = quiet(3);
        plan.workers = workers;
        plan.shut = Some(ms(5));
        plan.clients[0].thinks = ms(50);
        plan.clients[1].pieces[0].0 = ms(20);
        plan.clients[2].arrives = ms(10);
        let world = run(plan);
        assert_eq!(answered(&world), 2);
        assert!(world.sockets.lock().unwrap()[2].is_none(), "nobody listens");
        assert_eq!(*world.lost.lock().unwrap(), 1, "it is said once");
    }
}

/// Regression: an observer that blocked hung every client after the eighteenth, and the server could not be stopped.
#[test]
fn an_observer_that_blocks_keeps_no_client_and_no_stop_waiting() {
    for workers in 0..3 {
        let mut plan = quiet(6);
        plan.workers = workers;
        plan.observer = Observer::Blocks;
        for id in 1..6 {
            plan.clients[id].arrives = ms(10 * id as u64);
        }
        plan.stop = Some(ms(100));
        let world = run(plan);
        for id in 0..6 {
            assert_eq!(
                closed(&world, id),
                connected(&world, id),
                "client {id} of {workers} workers"
            );
            facts(&world, id, |facts| assert_eq!(facts.written.len(), 10));
        }
        let violations = world.violations.lock().unwrap().clone();
        let untold: Vec<_> =
            (0..6).map(|id| format!("client {id}: 0 exchanges were told")).collect();
        assert_eq!(violations, untold, "{}", story::tell(&world));
    }
}

/// Two servers that share the listener: an old one that stops leaves its clients in the queue to the other,
/// also those for which the kernel has woken nobody else.
#[test]
fn of_two_servers_with_one_listener_one_stops_and_no_client_is_lost() {
    for (workers, stop) in (0..3).flat_map(|workers| (0..12).map(move |stop| (workers, stop))) {
        let mut plan = quiet(8);
        plan.seed = stop;
        plan.servers = 2;
        plan.workers = workers;
        plan.stop = Some(ms(stop));
        for id in 0..8 {
            plan.clients[id].arrives = ms(id as u64 * 2);
            plan.clients[id].thinks = ms(3);
        }
        let world = holds(plan);
        assert_eq!(answered(&world), 8, "{workers} workers, stopped after {stop} ms");
        let by_the_other = (0..8).filter(|&id| facts(&world, id, |facts| facts.server == 1));
        assert!(by_the_other.count() > 0, "{workers} workers, stopped after {stop} ms");
    }
}

/// Regression: connections were reported in the order in which they lay in memory, so now and then a seed told
/// another story when it was told again.
#[test]
fn connections_are_reported_in_the_order_in_which_they_came() {
    clock::live(0, || {
        let new = |_| Socket::new(None, 1, None);
        let first: Vec<_> = (0..64).map(new).collect();
        // Later ones take the memory of those that are gone.
        let mut all: Vec<_> = first.into_iter().step_by(2).collect();
        all.extend((0..64).map(new));
        assert!(all.is_sorted_by_key(Socket::key));
    });
}

/// The kernel wakes one of two servers for a client. If that one has no place, the other finds the client when it
/// looks at the queue, as each server does from time to time.
#[test]
fn a_client_for_which_a_full_server_was_woken_is_served_by_the_other() {
    for workers in 0..2 {
        let mut plan = quiet(4);
        plan.servers = 2;
        plan.workers = workers;
        plan.limits.max_connections = 2;
        plan.limits.queue = 10 * QUEUE_CHECK;
        for id in 0..4 {
            plan.clients[id].arrives = ms(10 * id as u64);
            plan.clients[id].thinks = 3 * QUEUE_CHECK;
        }
        let world = holds(plan);
        assert_eq!(answered(&world), 4);
        for id in 0..4 {
            let waited = facts(&world, id, |facts| facts.accepted.unwrap() - facts.connected);
            assert!(waited <= QUEUE_CHECK, "client {id} of {workers} workers: {waited:?}");
        }
    }
}

fn facts<T>(world: &World, id: usize, of: impl FnOnce(&Facts) -> T) -> T {
    of(&world.sockets.lock().unwrap()[id].as_ref().unwrap().facts())
}

fn closed(world: &World, id: usize) -> Instant {
    facts(world, id, |facts| facts.closed.unwrap())
}

fn connected(world: &World, id: usize) -> Instant {
    facts(world, id, |facts| facts.connected)
}

fn answered(world: &World) -> usize {
    world.endings.lock().unwrap().get("Answered").copied().unwrap_or(0)
}

fn holds(plan: Plan) -> Arc<World> {
    let world = run(plan);
    let violations = world.violations.lock().unwrap().clone();
    assert!(violations.is_empty(), "{}\n{violations:#?}", story::tell(&world));
    world
}

/// A world of patient clients that all come at once, and in which nothing else happens.
fn quiet(clients: u32) -> Plan {
    Plan {
        seed: 0,
        limits: Limits::default(),
        until: Until::Dry,
        words: Words::Line,
        uids: Vec::new(),
        gids: Vec::new(),
        backlog: 10,
        servers: 1,
        workers: 0,
        shut: None,
        trouble: None,
        stop: None,
        hurry: None,
        observer: Observer::Listens,
        clients: (0..clients).map(patient).collect(),
    }
}

fn patient(id: u32) -> ClientPlan {
    ClientPlan {
        peer: Some(Peer { pid: id, uid: 1, gid: 1 }),
        arrives: Duration::ZERO,
        room: 1000,
        pieces: vec![(Duration::ZERO, Bytes::from_static(b"hello"))],
        then: Then::Wait,
        talks_first: false,
        reading: Reading { step: 1, times: 0, pause: Duration::ZERO, to_the_end: true },
        leaves: None,
        stays: false,
        trap: None,
        deed: Deed::Reply(10),
        thinks: Duration::ZERO,
    }
}
