//! Worlds without an observer. The server goes other ways there, and tells nothing that could be compared with
//! what its clients saw. So what they saw is compared with the same world with an observer, in which all is
//! judged: there must be no difference, in no byte and at no time.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::socket::{Facts, Side};

/// Whether the world of this seed lives once more, without an observer. Drawn apart from all else: each seed
/// goes on to stand for the world that it stood for.
pub(super) fn is_drawn(seed: u64) -> bool {
    Rng::with_seed(seed.rotate_left(32)).bool()
}

/// All that a client can see of its connection. Times are those that have passed in its world.
#[derive(PartialEq, Eq)]
pub(super) struct Seen {
    sent: Vec<(Duration, usize)>,
    /// When it half-closed, and when it left.
    done: (Option<Duration>, Option<Duration>),
    accepted: Option<Duration>,
    written: Vec<u8>,
    writes: Vec<(Duration, usize)>,
    /// When the server half-closed, and when it closed.
    ended: (Option<Duration>, Option<Duration>),
    /// Whether the client's next write fails, and whether it has an error for its end.
    fails: (bool, bool),
}

impl Seen {
    pub(super) fn of(facts: &Facts, begun: Instant) -> Self {
        let since = |at: Instant| at - begun;
        let all = |times: &[(Instant, usize)]| {
            times.iter().map(|&(at, length)| (since(at), length)).collect()
        };
        let half_closed = match facts.client {
            Side::HalfClosed(at) => Some(since(at)),
            _ => None,
        };
        Self {
            sent: all(&facts.arrivals),
            done: (half_closed, facts.left.map(since)),
            accepted: facts.accepted.map(since),
            written: facts.written.clone(),
            writes: all(&facts.writes),
            ended: (facts.half_closed.map(since), facts.closed.map(since)),
            fails: (facts.input_shut, facts.reset),
        }
    }

    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let differ = [
            (self.sent != other.sent, "what it could send"),
            (self.done != other.done, "when it was done"),
            (self.accepted != other.accepted, "when it was accepted"),
            (self.written != other.written, "what it was written"),
            (self.writes != other.writes, "when it was written to"),
            (self.ended != other.ended, "when it had its end"),
            (self.fails != other.fails, "whether it has an error"),
        ];
        differ.into_iter().filter_map(|(differs, what)| differs.then_some(what)).collect()
    }
}

/// What is not the same for which of these clients.
pub(super) fn differences(with: &[Option<Seen>], without: &[Option<Seen>]) -> Vec<String> {
    let clients = with.iter().zip(without).enumerate();
    let differ = clients.filter(|(_, (with, without))| with != without);
    let differ = differ.map(|(id, seen)| {
        let what = match seen {
            (Some(with), Some(without)) => with.differences(without),
            _ => vec!["whether it could connect"],
        };
        format!("client {id}: without an observer it is not the same {}", what.join(", "))
    });
    differ.collect()
}
