//! Which shards wait for clients, and which stand by.
//!
//! To wake a thread for a client takes about as much as to answer it, and as long. So while exchanges
//! are short, one shard waits, and calls another only when it cannot keep up. Where they are long,
//! all wait, and whoever comes is served at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{CALL_AFTER, LONG};
use crate::shards::{Shard, Shards};

/// What all shards of a server know of it.
#[derive(Default)]
pub(crate) struct Standby {
    /// How many stand by.
    count: AtomicUsize,
    /// Whether exchanges are long.
    long: AtomicBool,
    /// Held while one decides to: two at once would each count on the other.
    deciding: Mutex<()>,
}

/// How it goes for one shard, by its own clock.
pub(crate) struct Pace {
    /// When it last had nothing to do.
    rested: Instant,
    /// Goes up with each long exchange, and down with each short one.
    long: u32,
}

impl Shards {
    /// Whether a shard that finds nobody there need not wait for clients. Asked often; who is told so
    /// must still [stand by](Self::stand_by).
    pub(crate) fn one_is_enough(&self) -> bool {
        let standby = &self.standby;
        let up = self.all.len() - standby.count.load(Ordering::Relaxed);
        up > 1 && !standby.long.load(Ordering::Relaxed)
    }

    /// Whether this shard may stand by, and from now on does: not where nobody else would serve, or
    /// only some that are blocked.
    pub(crate) fn stand_by(&self, shard: &Shard) -> bool {
        let _decides = self.standby.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.stands_by() {
            return true;
        }
        let serves = |other: &Shard| !std::ptr::eq(other, shard) && other.could_serve();
        let may = self.all.iter().any(serves);
        if may {
            shard.stands_by.store(true, Ordering::SeqCst);
            self.standby.count.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// It does not stand by any more.
    pub(crate) fn is_up(&self, shard: &Shard) {
        shard.stands_by.store(false, Ordering::SeqCst);
        self.standby.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is one to call.
    pub(crate) fn somebody_stands_by(&self) -> bool {
        self.standby.count.load(Ordering::Relaxed) > 0
    }

    /// Has one more shard wait for clients.
    pub(crate) fn call_another(&self) {
        if let Some(another) = self.all.iter().find(|shard| shard.stands_by()) {
            another.bell().ring();
        }
    }

    /// What a shard has found: whether exchanges are long.
    pub(crate) fn heed(&self, long: bool) {
        let known = &self.standby.long;
        // Written only where it is new, as all read it.
        if known.load(Ordering::Relaxed) != long {
            known.store(long, Ordering::Relaxed);
        }
    }
}

impl Pace {
    /// As much as a long exchange counts for; a short one counts for one. So they are long when a
    /// fifth of them is, and one that was held up by other programs makes no difference.
    const WEIGHT: u32 = 4;

    pub(crate) fn new(now: Instant) -> Self {
        Self { rested: now, long: 0 }
    }

    /// So long it has taken for so many. Whether they are long, of late.
    pub(crate) fn took(&mut self, time: Duration, exchanges: u32) -> bool {
        self.long = match time > LONG * exchanges {
            true => (self.long + Self::WEIGHT).min(4 * Self::WEIGHT),
            false => self.long.saturating_sub(1),
        };
        self.is_long()
    }

    pub(crate) fn is_long(&self) -> bool {
        self.long >= 2 * Self::WEIGHT
    }

    /// It had nothing to do just now.
    pub(crate) fn rested(&mut self, now: Instant) {
        self.rested = now;
    }

    /// Whether it has been at work for so long that it may not keep up; once in that time.
    pub(crate) fn is_pressed(&mut self, now: Instant) -> bool {
        let pressed = now - self.rested >= CALL_AFTER;
        if pressed {
            self.rested = now;
        }
        pressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Guest, Places};
    use crate::limits::{Limits, SHARD_STUCK};
    use crate::shards::Inside;

    #[test]
    fn one_waits_and_calls_the_others_one_by_one() {
        let shards = Shards::new(3).unwrap();
        let [one, another, last] = &shards.all[..] else { panic!("three were made") };
        assert!(shards.one_is_enough() && !shards.somebody_stands_by());
        assert!(shards.stand_by(one) && shards.stand_by(another));
        assert!(!shards.one_is_enough() && shards.somebody_stands_by());
        assert!(!shards.stand_by(last), "nobody else would serve");
        assert!(shards.stand_by(one), "it does already");
        shards.is_up(one);
        shards.is_up(another);
        assert!(!shards.somebody_stands_by(), "none is counted twice");
    }

    #[test]
    fn all_wait_where_exchanges_are_long() {
        let shards = Shards::new(2).unwrap();
        shards.heed(true);
        assert!(!shards.one_is_enough());
        shards.heed(false);
        assert!(shards.one_is_enough());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_blocked_is_not_counted_on() {
        let shards = Shards::new(2).unwrap();
        let [blocked, other] = &shards.all[..] else { panic!("two were made") };
        let place = Places::new(&Limits::default()).try_take().unwrap();
        blocked.enter(Inside::new(None, place, Guest::new(None)));
        assert!(shards.stand_by(other), "for all that is known, it will be done at once");
        shards.is_up(other);
        tokio::time::advance(SHARD_STUCK).await;
        assert!(blocked.notice());
        assert!(!shards.stand_by(other));
    }

    #[test]
    fn they_are_long_when_many_are_and_not_when_one_is() {
        let mut pace = Pace::new(Instant::now());
        let mut took = |time: Duration, exchanges| pace.took(time, exchanges);
        assert!(!took(2 * LONG, 1), "one may have been held up");
        assert!(!took(2 * LONG, 2), "they took as long as one may");
        for _ in 0..100 {
            took(2 * LONG, 1);
        }
        assert!(took(2 * LONG, 1));
        let short = (0..100).take_while(|_| took(LONG, 1)).count();
        assert!((1..20).contains(&short), "after so many they are not: {short}");
    }

    #[test]
    fn a_shard_is_pressed_once_in_a_time() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        assert!(!pace.is_pressed(begun + CALL_AFTER / 2));
        assert!(pace.is_pressed(begun + CALL_AFTER));
        assert!(!pace.is_pressed(begun + CALL_AFTER));
        pace.rested(begun + 2 * CALL_AFTER);
        assert!(!pace.is_pressed(begun + 2 * CALL_AFTER));
        assert!(pace.is_pressed(begun + 3 * CALL_AFTER));
    }
}
