//! Connections that may be idle and may hang: what is said of a machine on which nothing else is seen.

use super::*;
use crate::cmd::why::ask::server::waits::{ServerReport, Stage, Until};

/// What is said where there is no finding.
fn well(world: &World) -> (Certainty, String) {
    let verdicts = judge(&world.0, &Target::All);
    let count = undecided(&world.0, &Target::All, &verdicts);
    let verdict = all_is_well(&world.0, &Target::All, &verdicts, count).unwrap();
    assert_eq!(verdict.code, Code::Ok);
    assert_eq!(verdict.headline.contains("cannot be told"), count > 0, "{}", verdict.headline);
    (verdict.certainty, verdict.headline)
}

fn loops() -> World {
    World::new()
        .event_loop(CLIENT_PID, &[(3, CLIENT, IN)])
        .event_loop(SERVER_PID, &[(3, LISTENER, IN), (4, SERVER, IN)])
}

/// Regression: of a client that waited in vain for a server in Node it was said, with certainty, that nothing hangs.
#[test]
fn two_event_loops_are_not_certain_to_be_well() {
    let (certainty, headline) = well(&loops());
    assert_eq!(certainty, Certainty::Likely);
    assert_eq!(
        headline,
        "nothing seen to hang: 1 listening, 1 connections; 1 connection is idle or waits, which cannot be told"
    );
    // Both run all the while, or one does, and what passes is not seen.
    for moving in [CLIENT_PID, SERVER_PID] {
        let mut world = loops();
        world.0.activities.insert(moving, Activity::Moving);
        assert_eq!(well(&world).0, Certainty::Likely);
    }
}

#[test]
fn what_is_known_to_be_idle_is_well() {
    let says = |stage| {
        let mut world = loops();
        let wait = Duration::from_millis(200);
        let report = ServerReport {
            pid: SERVER_PID,
            until: Until::Http,
            stage,
            waited: wait,
            left: wait,
            behind: None,
        };
        world.0.details.reports.insert(SERVER, report);
        well(&world).0
    };
    assert_eq!(says(Stage::Idle), Certainty::Certain);
    assert_eq!(says(Stage::Handler), Certainty::Likely);
    // Nobody reads it.
    let asleep = World::new().thread(CLIENT_PID, Call::Sleep).thread(SERVER_PID, Call::Read(4));
    assert_eq!(well(&asleep).0, Certainty::Certain);
    // Something passed.
    let mut alive = loops();
    alive.0.steady.remove(&CLIENT);
    assert_eq!(well(&alive).0, Certainty::Certain);
}

#[test]
fn what_a_go_program_keeps_is_idle_unless_several_requests_share_it() {
    let kept = |shared| {
        let reader = Reader::KeptAlive { goroutine: 21, shared };
        well(&loops().reader(Ok(Some(reader)))).0
    };
    assert_eq!(kept(false), Certainty::Certain);
    assert_eq!(kept(true), Certainty::Likely);
}

/// What has a finding is not counted once more.
#[test]
fn a_connection_that_is_told_of_is_decided() {
    let world = World::asked().event_loop(SERVER_PID, &[(3, LISTENER, IN), (4, SERVER, IN)]);
    let verdicts = judge(&world.0, &Target::All);
    assert_eq!(verdicts.len(), 1);
    assert_eq!(undecided(&world.0, &Target::All, &verdicts), 0);
    assert_eq!(undecided(&world.0, &Target::All, &[]), 1);
}
