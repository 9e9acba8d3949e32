//! Ten thousand clients that connected and say nothing, while others are served.

use std::time::{Duration, Instant};

use super::crowds::{DESCRIPTORS, allow_descriptors};
use super::{is_answer, serve_with_descriptors};
use crate::support::Place;
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::programs::say;

const IDLE: usize = 10_000;
const EXCHANGES: usize = 1000;

#[test]
fn the_others_are_all_served_and_so_is_the_crowd_when_it_speaks() {
    let allowed = allow_descriptors();
    if allowed.most < DESCRIPTORS {
        let most = allowed.most;
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
