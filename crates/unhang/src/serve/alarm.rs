//! When the watchdog looks next, and how the other threads have it look sooner.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// When the watchdog looks next, unless it is woken.
pub(crate) struct Alarm {
    base: Instant,
    /// In nanoseconds from `base`.
    next: AtomicU64,
    /// Whether the watchdog looks after the workers, as at least one is at work.
    attends: AtomicBool,
}

impl Alarm {
    pub(crate) fn new(base: Instant) -> Self {
        Self { base, next: AtomicU64::new(0), attends: AtomicBool::new(false) }
    }

    fn stamp(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    /// Whether a worker that goes to work has to wake the watchdog. True for the first that asks.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.attends.load(Ordering::SeqCst) && !self.attends.swap(true, Ordering::SeqCst)
    }

    /// The watchdog does not look after the workers: one that goes to work has to wake it.
    pub(crate) fn looks_away(&self) {
        self.attends.store(false, Ordering::SeqCst);
    }

    /// It does.
    pub(crate) fn looks(&self) {
        self.attends.store(true, Ordering::SeqCst);
    }

    /// The watchdog is awake: it need not be woken.
    pub(crate) fn awake(&self) {
        self.next.store(0, Ordering::SeqCst);
    }

    /// The watchdog looks again then.
    pub(crate) fn set(&self, next: Option<Instant>) {
        self.next.store(next.map_or(u64::MAX, |next| self.stamp(next)), Ordering::SeqCst);
    }

    /// Whether the watchdog would look too late for this; then it is to be woken, once.
    pub(crate) fn is_later_than(&self, due: Instant) -> bool {
        let due = self.stamp(due);
        // Most often it would not, and all workers can read that at once.
        self.next.load(Ordering::SeqCst) > due && self.next.fetch_min(due, Ordering::SeqCst) > due
    }
}
