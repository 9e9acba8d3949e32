//! When we look at what the server behind does with a connection.

use std::time::Duration;

use tokio::time::Instant;

use super::watch::Seen;

/// When we look for the first time, after the last byte. A server that closes does so within that time,
/// and costs no look.
const FIRST: Duration = Duration::from_millis(5);
/// How often at least we look at a server that is at work.
const LONGEST: Duration = Duration::from_millis(50);
/// How often at one of which nothing can be known.
const UNKNOWN: Duration = Duration::from_secs(1);
/// So many times as long as a look has taken we wait for the next: it keeps the runtime from all else, also
/// from deadlines. At a server with hundreds of threads, on a busy machine, it takes tens of milliseconds.
const LEISURE: u32 = 10;

pub(super) struct Looks {
    /// The last byte that they count from.
    last: Instant,
    /// Until the next one.
    patience: Duration,
    at: Instant,
}

impl Looks {
    /// For a connection whose last byte came at this moment.
    pub(super) fn since(last: Instant) -> Self {
        Self { last, patience: FIRST, at: last + FIRST }
    }

    /// The next one. They begin anew with each byte.
    pub(super) fn at(&mut self, last: Instant) -> Instant {
        if last != self.last {
            *self = Self::since(last);
        }
        self.at
    }

    /// One was taken, from `begun` until `now`.
    pub(super) fn took(&mut self, begun: Instant, now: Instant, seen: Seen) {
        self.patience = match seen {
            Seen::Unknown => UNKNOWN,
            Seen::Rests | Seen::Works => (2 * self.patience).min(LONGEST),
        };
        self.at = begun + self.patience.max(LEISURE * (now - begun));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_grow_apart_and_begin_anew_with_each_byte() {
        let begun = Instant::now();
        let mut looks = Looks::since(begun);
        let mut gaps = Vec::new();
        let mut now = begun;
        for _ in 0..6 {
            let at = looks.at(begun);
            gaps.push((at - now).as_millis());
            now = at;
            looks.took(now, now, Seen::Works);
        }
        assert_eq!(gaps, [5, 10, 20, 40, 50, 50]);
        looks.took(now, now, Seen::Unknown);
        assert_eq!(looks.at(begun) - now, UNKNOWN);
        assert_eq!(looks.at(now) - now, FIRST);
    }

    /// A server that had forgotten 6,000 connections was looked at all the time, and a client that was to be
    /// told after 4 s was told after 5.9 s.
    #[test]
    fn a_look_that_takes_long_is_followed_by_a_long_pause() {
        let begun = Instant::now();
        let mut looks = Looks::since(begun);
        let now = looks.at(begun);
        looks.took(now, now + Duration::from_millis(60), Seen::Works);
        assert_eq!(looks.at(begun) - now, Duration::from_millis(600));
    }
}
