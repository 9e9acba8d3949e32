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

    /// One was taken.
    pub(super) fn took(&mut self, now: Instant, seen: Seen) {
        self.patience = match seen {
            Seen::Unknown => UNKNOWN,
            Seen::Waits | Seen::Rests | Seen::Works => (2 * self.patience).min(LONGEST),
        };
        self.at = now + self.patience;
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
            looks.took(now, Seen::Works);
        }
        assert_eq!(gaps, [5, 10, 20, 40, 50, 50]);
        looks.took(now, Seen::Unknown);
        assert_eq!(looks.at(begun) - now, UNKNOWN);
        assert_eq!(looks.at(now) - now, FIRST);
    }
}
