//! Worlds that once broke the promise, as small as they can be told.

use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use crate::handler::Peer;
use crate::limits::{ACCEPT_PAUSE, Limits};
use crate::wire::oneshot::Until;

use super::plan::{ClientPlan, Deed, Plan, Reading, Then, Trouble, Words};
use super::{World, run, story};

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
fn who_is_queued_when_the_drain_ends_without_descriptors_is_told() {
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
fn who_waits_for_a_place_while_accepting_fails_is_told_when_it_works_again() {
    let mut plan = quiet(2);
    plan.limits.max_connections = 1;
    plan.limits.queue = ms(100);
    plan.clients[0].deed = Deed::Never;
    plan.clients[1].arrives = ms(1);
    plan.trouble = Some(Trouble { begins: ms(1), ends: ms(102), error: Errno::NOMEM, often: 100 });
    let accepted = |plan| {
        let world = holds(plan);
        let wires = world.wires.lock().unwrap();
        let facts = wires[1].as_ref().unwrap().facts();
        facts.accepted.unwrap() - facts.connected
    };
    assert_eq!(accepted(plan), ms(100) + ACCEPT_PAUSE);
}

/// It was told so at once: that the queue had become empty was not noticed while accepting failed,
/// and the patience of those before it counted as its own.
#[test]
fn who_comes_after_accepting_has_failed_has_all_of_its_own_patience() {
    let mut plan = quiet(4);
    plan.limits.max_connections = 1;
    plan.limits.queue = ms(100);
    plan.clients[0].thinks = ms(50);
    plan.clients[1].arrives = ms(1);
    plan.clients[2].arrives = ms(160);
    plan.clients[2].deed = Deed::Never;
    plan.clients[3].arrives = ms(161);
    plan.trouble = Some(Trouble { begins: ms(40), ends: ms(155), error: Errno::MFILE, often: 70 });
    // One in which the second client is accepted with the spare descriptor, and no other try works.
    plan.seed = 17;
    holds(plan);
}

fn holds(plan: Plan) -> Arc<World> {
    let world = run(plan);
    let blames = world.blames.lock().unwrap().clone();
    assert!(blames.is_empty(), "{}\n{blames:#?}", story::tell(&world));
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
        shards: 0,
        trouble: None,
        stop: None,
        hurry: None,
        clients: (0..clients).map(patient).collect(),
    }
}

fn patient(id: u32) -> ClientPlan {
    ClientPlan {
        peer: Some(Peer { pid: id, uid: 1, gid: 1 }),
        arrives: Duration::ZERO,
        room: 1000,
        pieces: vec![(Duration::ZERO, b"hello".to_vec())],
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
