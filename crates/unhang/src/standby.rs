//! Which shards wait for clients, and which stand by.
//!
//! To wake a thread for a client takes about as much as to answer it, and as long. So while exchanges
//! are short, one shard waits, and calls another only when it cannot keep up; and the keeper calls one
//! where a single exchange is longer than the others. Where all are, all wait, and whoever comes is
//! served at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{CALL_AFTER, HELD_UP, LONG};
use crate::shards::{Shard, Shards};

/// What all shards of a server know of it.
#[derive(Default)]
pub(crate) struct Standby {
    /// How many stand by.
    count: AtomicUsize,
    /// Whether exchanges are long.
    long: AtomicBool,
    /// Whether a single one has held up its shard, since that was asked for the last time.
    held_up: AtomicBool,
    /// Held while one decides to: two at once would each count on the other.
    deciding: Mutex<()>,
}

/// How it goes for one shard, by its own clock.
pub(crate) struct Pace {
    /// When it last had nothing to do.
    rested: Instant,
    /// What an exchange takes, of late.
    mean: Duration,
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

    /// What a shard has found: what took so long, and whether exchanges do so of late.
    pub(crate) fn heed(&self, took: Duration, long: bool) {
        // Written only where it is new, as all read it.
        let note = |flag: &AtomicBool, now: bool| {
            if flag.load(Ordering::Relaxed) != now {
                flag.store(now, Ordering::Relaxed);
            }
        };
        note(&self.standby.long, long);
        if took >= HELD_UP {
            note(&self.standby.held_up, true);
        }
    }

    /// Whether an exchange has held up its shard since this was asked.
    pub(crate) fn one_was_held_up(&self) -> bool {
        self.standby.held_up.swap(false, Ordering::Relaxed)
    }
}

impl Pace {
    /// So many of the last count for the mean, more or less. Enough that one which other programs have
    /// held up makes no difference.
    const LAST: u32 = 64;

    pub(crate) fn new(now: Instant) -> Self {
        Self { rested: now, mean: Duration::ZERO }
    }

    /// So long it has taken for so many. Whether they are long, of late.
    pub(crate) fn took(&mut self, time: Duration, exchanges: u32) -> bool {
        let each = (time / exchanges.max(1)).min(HELD_UP);
        self.mean = (self.mean * (Self::LAST - 1) + each) / Self::LAST;
        self.is_long()
    }

    pub(crate) fn is_long(&self) -> bool {
        self.mean > LONG
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
    use crate::limits::{Limits, SHARD_STUCK};
    use crate::serve::admission::{Guest, Places};
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
        shards.heed(LONG, true);
        assert!(!shards.one_is_enough() && !shards.one_was_held_up());
        shards.heed(HELD_UP, false);
        assert!(shards.one_is_enough());
        assert!(shards.one_was_held_up() && !shards.one_was_held_up());
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
    fn they_are_long_on_average_and_not_because_one_is() {
        let mut pace = Pace::new(Instant::now());
        assert!(!pace.took(Duration::from_secs(1), 1), "it may have been held up");
        assert!(!pace.took(LONG * 4, 4) && !pace.took(Duration::ZERO, 0));
        let after = (1..100).find(|_| pace.took(HELD_UP, 1));
        assert!(after.is_some_and(|after| (3..10).contains(&after)), "{after:?} of the longest");
        for n in 0..1000 {
            let time = if n % 16 == 0 { HELD_UP } else { LONG / 4 };
            assert!(pace.took(time, 1) || n < 500, "one of sixteen is, and they are long");
        }
        assert!((0..1000).any(|_| !pace.took(LONG / 4, 1)), "until they are short again");
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
