//! Worlds of kept connections that once broke the promise, as small as they can be told.

use std::sync::Arc;
use std::time::Duration;

use super::plan::{ClientPlan, Deed, Form, Piece, Plan, RequestPlan};
use super::speech::Speech;
use super::{World, run, story};
use crate::handler::Peer;
use crate::limits::{Limits, READER_CHECK, WORKER_CHECK};
use crate::sim::socket::Trap;

const SPEECHES: [Speech; 4] = [Speech::Lines, Speech::Nul, Speech::Http, Speech::Goridge];

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// It was told so for each piece of it that came, and then answered: the client took the second of these for
/// the answer to its next request.
#[test]
fn a_request_that_finds_no_memory_has_one_answer() {
    for (speech, room) in SPEECHES.into_iter().flat_map(|speech| [(speech, 100), (speech, 1 << 16)])
    {
        let mut plan = quiet(speech, &[&[(300, 10), (10, 10), (10, 10)]]);
        plan.limits.max_held = 200;
        plan.clients[0].room = room;
        let world = holds(plan);
        assert_eq!(told(&world, 0), ["refused"], "{speech:?}");
    }
}

/// It was told, and then logged and counted as one that had an answer.
#[test]
fn a_client_that_is_turned_away_is_not_counted_as_answered() {
    for speech in SPEECHES {
        let mut plan = quiet(speech, &[&[(10, 10)], &[(10, 10)]]);
        plan.limits.max_connections = 1;
        plan.limits.queue = ms(5);
        plan.clients[0].requests[0].deed = Deed::Never;
        plan.clients[1].arrives = ms(1);
        let world = holds(plan);
        assert_eq!(told(&world, 1), ["refused"], "{speech:?}");
    }
}

/// They were told as refused, for the reason that the last one was.
#[test]
fn answers_that_went_nowhere_with_a_refusal_are_not_told_as_refused() {
    for speech in SPEECHES {
        let mut plan = quiet(speech, &[&[(10, 40), (10, 40), (2000, 40)]]);
        plan.limits.max_request = 1000;
        // Gone when the first answer is to be written.
        plan.clients[0].trap = Some((2, Trap::Vanish));
        let world = holds(plan);
        let told = told(&world, 0);
        assert!(!told[..told.len() - 1].contains(&"refused"), "{speech:?}: {told:?}");
    }
}

/// The kernel had no memory for them. They were logged as failed one by one, and written after all at the next
/// step.
#[test]
fn answers_that_could_not_be_written_are_not_written_later() {
    for speech in SPEECHES {
        let mut failed = 0;
        for call in 0..8 {
            let mut plan = quiet(speech, &[&[(10, 40), (10, 40), (10, 40)]]);
            // Begun on a worker, the handlers are over at once, and their replies go out in one write.
            plan.workers = 1;
            plan.clients[0].trap = Some((call, Trap::Fail));
            let world = holds(plan);
            if told(&world, 0).contains(&"failed") {
                failed += 1;
                assert_eq!(told(&world, 0), ["failed"; 3], "{speech:?}");
                let clients = world.clients.lock().unwrap();
                assert_eq!(clients[0].socket.as_ref().unwrap().facts().written, b"", "{speech:?}");
            }
        }
        assert!(failed > 0, "{speech:?}: no write failed");
    }
}

/// It was written, and told as refused when the next reply on the connection, which its client did not wait for,
/// could not be.
#[test]
fn an_answer_that_was_written_is_told_as_answered() {
    for speech in SPEECHES {
        let mut plan = quiet(speech, &[&[(10, 10), (10, 10)]]);
        plan.workers = 1;
        plan.clients[0].requests[1].deed = Deed::Stream(1, 50, ms(100), true);
        plan.clients[0].leaves = Some(ms(20));
        (plan.stop, plan.limits.drain) = (Some(ms(10)), ms(40));
        let world = holds(plan);
        assert_eq!(told(&world, 0)[0], "answered", "{speech:?}");
    }
}

/// The kernel had no memory for what had come, and the client was told that its request has no end.
#[test]
fn a_request_that_cannot_be_read_as_its_connection_ends_is_told_so() {
    for (speech, call) in SPEECHES.into_iter().flat_map(|speech| (0..12).map(move |n| (speech, n)))
    {
        let mut plan = quiet(speech, &[&[(10, 10), (40, 10), (40, 10)]]);
        let client = &mut plan.clients[0];
        client.requests[0].thinks = ms(9);
        let (first, second) = (client.ends[0], client.ends[1]);
        client.pieces = vec![
            Piece { awaits: 0, pause: ms(0), end: first },
            Piece { awaits: 0, pause: ms(4), end: second },
        ];
        client.trap = Some((call, Trap::Fail));
        plan.stop = Some(ms(6));
        holds(plan);
    }
}

/// The end of its rest was long past, and ended each wait for the client to read why its request was refused:
/// the thread that keeps all deadlines did nothing else.
#[test]
fn a_part_of_a_request_that_comes_as_the_connection_is_ended_makes_no_thread_spin() {
    for (speech, calls) in SPEECHES.into_iter().flat_map(|speech| (0..12).map(move |n| (speech, n)))
    {
        let mut plan = quiet(speech, &[&[(10, 50), (60, 10)]]);
        let client = &mut plan.clients[0];
        // Its buffer has little room left once the first answer is in it, and it reads nothing.
        client.room = 120;
        client.pieces = vec![Piece { awaits: 0, pause: ms(0), end: client.ends[0] }];
        client.reading.to_the_end = false;
        client.trap = Some((calls, Trap::Ahead(20)));
        plan.stop = Some(ms(50));
        holds(plan);
    }
}

/// One handler blocks a worker, and others in all of them: kept clients of the same worker are served.
#[test]
fn a_handler_that_blocks_holds_up_no_other_kept_client() {
    for (speech, workers) in SPEECHES.into_iter().flat_map(|speech| [(speech, 1), (speech, 2)]) {
        let many: &[_] = &[(10, 10), (10, 10)];
        let mut plan = quiet(speech, &[many; 6]);
        plan.workers = workers;
        plan.clients[0].requests[1].deed = Deed::Block(10);
        plan.clients[0].requests[1].thinks = ms(1000);
        for client in &mut plan.clients {
            // First one exchange each, and the next when the first client's handler is at it.
            let (first, second) = (client.ends[0], client.ends[1]);
            let later = if client.peer.pid == 0 { ms(10) } else { ms(12) };
            client.pieces = vec![
                Piece { awaits: 0, pause: ms(0), end: first },
                Piece { awaits: 1, pause: later, end: second },
            ];
        }
        let world = holds(plan);
        for id in 1..6 {
            let clients = world.clients.lock().unwrap();
            let (at, _) = clients[id].told[1];
            let took = at - (world.begun + ms(12));
            assert!(
                took <= 3 * WORKER_CHECK,
                "client {id} of {workers} workers, {speech:?}: {took:?}"
            );
        }
    }
}

/// Requests in one write are answered in order, more of them than are answered in one turn.
#[test]
fn two_hundred_requests_in_one_write_are_answered_in_order() {
    for speech in SPEECHES {
        let world = holds(quiet(speech, &[&[(10, 30); 200]]));
        assert_eq!(told(&world, 0), ["answered"; 200], "{speech:?}");
    }
}

/// Regression: after its turn it waited for room for the next answer as if a part of a request had come, and was
/// ended only at both deadlines, one after the other.
#[test]
fn a_client_that_has_always_more_and_reads_nothing_is_ended_at_the_write_deadline() {
    for workers in 0..3 {
        let mut plan = quiet(Speech::Lines, &[&[(10, 30); 200]]);
        plan.workers = workers;
        (plan.limits.read, plan.limits.write) = (ms(5000), ms(1000));
        let client = &mut plan.clients[0];
        // It is full as the first turn ends: after the 64 answers that go together, and one.
        client.room = 65 * 31;
        client.reading.to_the_end = false;
        let world = holds(plan);
        let clients = world.clients.lock().unwrap();
        let facts = clients[0].socket.as_ref().unwrap().facts();
        let took = facts.closed.unwrap() - world.begun;
        assert!(took <= ms(1000) + READER_CHECK, "{workers} workers: {took:?}");
    }
}

fn told(world: &World, id: usize) -> Vec<&'static str> {
    let clients = world.clients.lock().unwrap();
    clients[id].told.iter().map(|(_, exchange)| exchange.ended.code()).collect()
}

fn holds(plan: Plan) -> Arc<World> {
    let world = run(plan);
    let violations = world.violations.lock().unwrap().clone();
    assert!(violations.is_empty(), "{}\n{violations:#?}", story::tell(&world));
    world
}

/// A world of patient clients that all come at once; for each the lengths of its requests and of their replies.
fn quiet(speech: Speech, clients: &[&[(usize, usize)]]) -> Plan {
    let client = |(id, requests): (usize, &&[(usize, usize)])| {
        let request = |(nth, &(length, reply)): (usize, &(usize, usize))| {
            RequestPlan::new((id, nth), length, Form::Length, Deed::Reply(reply), Duration::ZERO)
        };
        let peer = Peer { pid: u32::try_from(id).unwrap(), uid: 1, gid: 1 };
        ClientPlan::new(peer, requests.iter().enumerate().map(request).collect(), speech)
    };
    Plan {
        seed: 0,
        speech,
        limits: Limits { idle: Some(ms(500)), ..Limits::default() },
        backlog: 10,
        servers: 1,
        workers: 0,
        trouble: None,
        stop: None,
        is_observed: true,
        clients: clients.iter().enumerate().map(client).collect(),
    }
}
