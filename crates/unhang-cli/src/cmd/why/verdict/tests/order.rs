//! Which processes are named, how often, and in which order.

use super::*;

/// As every server of ours has its listener: its kill command was given twice, too.
#[test]
fn a_process_that_holds_an_end_twice_was_named_twice() {
    let mut world = World::asked().thread(SERVER_PID, Call::Sleep).unread(SERVER, 5);
    world.0.owners.entry(SERVER).or_default().push((SERVER_PID, 5));
    world.0.processes.get_mut(&SERVER_PID).unwrap().threads[0].state = 'T';
    let verdicts = judge(&world.0, &Target::All);
    let [stopped] = &verdicts[..] else { panic!("{verdicts:#?}") };
    assert_eq!(stopped.code, Code::ServerStopped);
    assert_eq!(stopped.headline, "p2000[2000] is stopped");
    assert_eq!(stopped.now, ["kill -CONT 2000"]);
    let report = Text { facts: &world.0, verdicts: &verdicts, verbose: false }.to_string();
    assert!(report.contains("──▶  p2000[2000] fd 4, 5 · is stopped"), "{report}");
}

/// The kernel's sockets are kept in a map, whose order is another each time.
#[test]
fn without_clients_the_findings_came_in_an_order_of_their_own() {
    let mut world = World::new();
    world.process(3_000, &(100..150).map(|inode| (inode, inode)).collect::<Vec<_>>());
    for inode in 100..150 {
        let left = Socket {
            name: b"/s".to_vec(),
            shut_read: true,
            shut_write: true,
            ..socket(inode, State::Connected, Peer::Unheld)
        };
        world.0.sockets.insert(inode, left);
        world.0.steady.insert(inode);
    }
    let verdicts = judge(&world.0, &Target::All);
    let servers: Vec<u32> = verdicts.iter().map(|one| one.server.as_ref().unwrap().inode).collect();
    assert!(verdicts.iter().all(|one| one.code == Code::ClientGone), "{verdicts:#?}");
    assert_eq!(servers, (100..150).collect::<Vec<_>>());
}

/// Regression: a look whose time was up said "OK nothing hangs" of what it had not looked at.
#[test]
fn what_was_not_looked_at_is_not_called_well() {
    let mut world = World::new();
    let all = |world: &World| all_is_well(&world.0, &Target::All, &[], 0).map(|one| one.code);
    assert_eq!(all(&world), Some(Code::Ok));
    world.0.passed_over.insert(7, "it did not answer in time".to_owned());
    assert_eq!(all(&world), Some(Code::OwnerNotVisible));
}
