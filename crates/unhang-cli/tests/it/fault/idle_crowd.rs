//! Ten thousand clients that connected and say nothing, while others are served.

use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use super::{is_answer, serve_with_descriptors};
use crate::support::Place;
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::say;

const IDLE: usize = 10_000;
const EXCHANGES: usize = 1000;

/// For the idle, and as much again as anything else here could need.
const DESCRIPTORS: u64 = 12_000;

#[test]
fn the_others_are_all_served_and_so_is_the_crowd_when_it_speaks() {
    if let Err(most) = allow_descriptors() {
        say(&format!("skipped: {DESCRIPTORS} descriptors are needed, {most} allowed (ulimit -Hn)"));
        return;
    }
    let place = Place::new();
    let arguments = ["--until", "newline", "--read-deadline", "1h", "--max-connections", "11000"];
    let server =
        serve_with_descriptors(&place, DESCRIPTORS, &[&arguments[..], &["--quiet"]].concat());
    let quiet = p99(&place);

    let mut crowd: Vec<_> = (0..IDLE).map(|_| Peer::connect(&place.socket)).collect();
    let loaded = p99(&place);
    assert!(server.descriptors() > IDLE, "all of them are in");
    // Shown and not asserted: how fast a shared machine is says nothing about us.
    say(&format!(
        "p99 of {EXCHANGES} exchanges: {quiet:.1?} alone, {loaded:.1?} beside {IDLE} idle"
    ));

    for peer in &mut crowd {
        peer.write(b"hello\n");
    }
    for mut peer in crowd {
        assert!(is_answer(&peer.read_to_end()));
    }
    let (status, lines) = Daemon::stop(server);
    assert!(status.success());
    let stopped = lines.last().unwrap();
    let answered = format!("\"answered\":{}", IDLE + 2 * EXCHANGES);
    assert!(stopped.contains(&answered) && stopped.contains("\"refused\":0"), "{lines:#?}");
}

/// Lets this process open enough, or gives how many it may.
pub(super) fn allow_descriptors() -> Result<(), u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < DESCRIPTORS {
        return Err(most);
    }
    if limit.current.is_some_and(|current| current < DESCRIPTORS) {
        limit.current = Some(DESCRIPTORS);
        setrlimit(Resource::Nofile, limit).map_err(|_| most)?;
    }
    Ok(())
}

/// How long the slowest of the best 99 % of exchanges takes.
fn p99(place: &Place) -> Duration {
    let mut times: Vec<_> = (0..EXCHANGES)
        .map(|_| {
            let begun = Instant::now();
            assert!(is_answer(&Peer::ask(&place.socket, b"hello\n")));
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[EXCHANGES * 99 / 100]
}
