//! Ends that only a process has which did not accept them: inherited by mistake, or handed over.

use super::*;

/// A child of the server's, which alone holds the connection, in this call; its parent is in another.
fn child(call: Call, listener: bool, parent: Call) -> World {
    let mut world = World::asked();
    let held = [(3, LISTENER), (4, SERVER)];
    world.0.owners.insert(SERVER, Vec::new());
    world.process(3_000, &held[usize::from(!listener)..]);
    let of = |world: &mut World, pid| world.0.processes.get_mut(&pid).unwrap().descriptors.take();
    let server = Descriptors { sockets: vec![held[0]], ..of(&mut world, SERVER_PID).unwrap() };
    world.0.processes.get_mut(&SERVER_PID).unwrap().descriptors =
        Some(Descriptors { pipes: vec![(8, 70)], ..server });
    let heir = Descriptors { pipes: vec![(7, 70), (9, 71)], ..of(&mut world, 3_000).unwrap() };
    let program = world.0.processes[&SERVER_PID].program;
    let process = world.0.processes.get_mut(&3_000).unwrap();
    (process.parent, process.program, process.descriptors) = (SERVER_PID, program, Some(heir));
    world.thread(3_000, call).thread(SERVER_PID, parent)
}

#[test]
fn a_child_that_awaits_its_parents_word_has_no_hand_on_what_it_inherited() {
    for listener in [false, true] {
        let world = child(Call::Read(7), listener, Call::Accept(3));
        says(&world, Code::FdLeaked, Certainty::Likely, true);
    }
    // A pipe of its own, as to a program that it started.
    let busy = child(Call::Read(9), false, Call::Accept(3));
    says(&busy, Code::HandlerBlocked, Certainty::Likely, true);
    // One of several workers that accept for themselves: their parent does not.
    let worker = child(Call::Read(7), true, Call::Child);
    says(&worker, Code::HandlerBlocked, Certainty::Certain, true);
}

#[test]
fn what_a_service_manager_accepted_it_hands_over() {
    // The system's, and a user's own.
    for (pid, name) in [(1, "init"), (900, "systemd")] {
        let mut world = World::asked();
        world.0.owners.insert(LISTENER, vec![(pid, 9)]);
        let manager = world.0.processes[&SERVER_PID].clone();
        let manager =
            Process { pid, name: name.to_owned(), program: Some((1, pid.into())), ..manager };
        world.0.processes.insert(pid, manager);
        let service = world.0.processes.get_mut(&SERVER_PID).unwrap();
        service.parent = pid;
        let world = world.thread(SERVER_PID, Call::Sleep);
        says(&world, Code::HandlerBlocked, Certainty::Certain, true);
    }
}

/// Another program, which alone holds the connection, in this call.
fn other_program(name: &str, call: Call, activity: Activity) -> World {
    let mut world = World::asked();
    world.0.owners.insert(SERVER, Vec::new());
    world.process(3_000, &[(4, SERVER)]);
    name.clone_into(&mut world.0.processes.get_mut(&3_000).unwrap().name);
    world.moving(3_000, call, activity).thread(SERVER_PID, Call::Accept(3))
}

/// Regression: each acceptor that hands its connections to a program was said to have leaked them, with
/// certainty, and the command that was advised destroyed the answer.
#[test]
fn a_program_that_was_given_the_connection_is_its_handler_unless_it_cannot_answer() {
    let still = |call| other_program("perl", call, Activity::Still);
    let likely = |world: &World, code| {
        says(world, code, Certainty::Likely, true);
        let verdict = judge(&world.0, &Target::All).remove(0);
        assert!(verdict.now.is_empty(), "{verdict:#?}");
        assert!(verdict.doubt.is_some_and(|doubt| doubt.contains("only inherited")));
        assert!(may_answer(&world.0, &world.0.sockets[&SERVER]).is_some());
    };
    likely(&still(Call::Sleep), Code::HandlerBlocked);
    likely(&still(Call::Child), Code::HandlerBlocked);
    likely(&other_program("python3", Call::None, Activity::Computing), Code::HandlerCpu);
    let reads = still(Call::Read(4));
    says(&reads, Code::BothWaiting, Certainty::Possible, false);
    let at_work = other_program("perl", Call::None, Activity::Moving);
    says(&at_work, Code::HandlerBlocked, Certainty::Possible, false);
    // A copy of the descriptor may be on its way to a handler.
    let mute = other_program("sleep", Call::Sleep, Activity::Still);
    says(&mute, Code::FdLeaked, Certainty::Likely, true);
    assert_eq!(may_answer(&mute.0, &mute.0.sockets[&SERVER]), None);
}

/// It sleeps so for less than a second: `select()` of nothing.
#[test]
fn a_child_that_polls_nothing_sleeps_and_is_not_idle() {
    let sleeps = child(Call::Poll(Some(Vec::new())), false, Call::Accept(3));
    assert_ne!(sleeps.verdicts()[0].0, Code::FdLeaked);
}
