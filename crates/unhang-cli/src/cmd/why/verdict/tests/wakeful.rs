//! Clients that wake often, to draw a progress bar or to see to their own timers, and that wait all the same.

use super::*;

fn poll(fd: u32) -> Call {
    Call::Poll(Some(vec![Watch { fd, reads: true, writes: false }]))
}

/// A client in `poll()` for ten milliseconds, again and again.
fn poller() -> World {
    World::new().moving(CLIENT_PID, poll(3), Activity::Moving)
}

/// An event loop with a timer, which watches these sockets.
fn with_timer(watched: &[(u32, u32, u32)]) -> World {
    let mut world = World::new().event_loop(CLIENT_PID, watched);
    world.0.activities.insert(CLIENT_PID, Activity::Moving);
    world
}

/// Of a server that slept for good was said "OK nothing hangs", with certainty, if its client woke more often
/// than ten times a second.
#[test]
fn a_client_that_polls_hangs_if_its_server_stands_still() {
    for call in [Call::Sleep, Call::Child, Call::FileLock(9)] {
        let blocked = poller().thread(SERVER_PID, call.clone());
        says(&blocked, Code::HandlerBlocked, Certainty::Likely, true);
        // Signals interrupt its read().
        let reads = World::new().moving(CLIENT_PID, Call::Read(3), Activity::Moving);
        let blocked = reads.thread(SERVER_PID, call.clone());
        says(&blocked, Code::HandlerBlocked, Certainty::Likely, true);
        let blocked = with_timer(&[(3, CLIENT, IN)]).thread(SERVER_PID, call);
        says(&blocked, Code::HandlerBlocked, Certainty::Likely, true);
    }
}

#[test]
fn a_client_that_polls_may_keep_its_connection_to_a_server_that_rests() {
    let accepts = poller().thread(SERVER_PID, Call::Accept(3));
    says(&accepts, Code::Forgotten, Certainty::Possible, false);
    let accepts = with_timer(&[(3, CLIENT, IN)]).thread(SERVER_PID, Call::Accept(3));
    says(&accepts, Code::Forgotten, Certainty::Possible, false);
    let watched =
        |world: World| world.event_loop(SERVER_PID, &[(3, LISTENER, IN), (4, SERVER, IN)]);
    says_nothing(&watched(poller()));
    says_nothing(&watched(with_timer(&[(3, CLIENT, IN)])));
    // A thread of the server's own waits for the next request.
    says_nothing(&with_timer(&[(3, CLIENT, IN)]).thread(SERVER_PID, Call::Read(4)));
    says(
        &poller().thread(SERVER_PID, Call::Read(4)),
        Code::BothWaiting,
        Certainty::Possible,
        false,
    );
}

/// The event loop has other conversations, and is woken by those.
#[test]
fn a_loop_with_other_conversations_is_not_said_to_wait_for_this_one() {
    let mut world = World::new();
    world.process(3_000, &[(3, 99)]);
    world.0.processes.get_mut(&CLIENT_PID).unwrap().descriptors.as_mut().unwrap().sockets =
        vec![(3, CLIENT), (5, 98)];
    let mut world = world.event_loop(CLIENT_PID, &[(3, CLIENT, IN), (5, 98, IN)]);
    world.0.activities.insert(CLIENT_PID, Activity::Moving);
    says_nothing(&world.thread(SERVER_PID, Call::Sleep));
}

/// It was called well, with certainty. What passed between two that run is not seen.
#[test]
fn a_server_that_spins_before_a_client_that_polls_may_have_left_it() {
    let spins = |world: World| world.moving(SERVER_PID, Call::None, Activity::Computing);
    says(&spins(poller()), Code::HandlerCpu, Certainty::Possible, false);
    says(&spins(with_timer(&[(3, CLIENT, IN)])), Code::HandlerCpu, Certainty::Possible, false);
    // Another thread of it may have this connection, and answer.
    says_nothing(&spins(poller()).moving(SERVER_PID, Call::None, Activity::Moving));
    // A loop under load comes back to each of its connections.
    let mut load = poller().event_loop(SERVER_PID, &[(3, LISTENER, IN), (4, SERVER, IN)]);
    let thread = &mut load.0.processes.get_mut(&SERVER_PID).unwrap().threads[0];
    (thread.state, thread.call) = ('R', Call::None);
    load.0.activities.insert(SERVER_PID, Activity::Computing);
    says_nothing(&load);
}

#[test]
fn a_server_at_work_does_not_hang_before_a_client_that_polls() {
    says_nothing(&poller().moving(SERVER_PID, Call::Sleep, Activity::Moving));
    says_nothing(&poller().thread(SERVER_PID, Call::Sleep).moving(
        SERVER_PID,
        poll(9),
        Activity::Moving,
    ));
}
