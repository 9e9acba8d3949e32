//! What a connection has sent itself, and what of it has come back: whether the node lives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Beats have numbers, from 1 on. The number is the message.
#[derive(Debug)]
pub(super) struct Beats {
    sent: AtomicU64,
    /// The last one that came back.
    heard: AtomicU64,
    heard_at: Mutex<Instant>,
}

impl Beats {
    pub(super) fn new() -> Self {
        Self {
            sent: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            heard_at: Mutex::new(Instant::now()),
        }
    }

    /// The number of the beat that is sent now.
    pub(super) fn next(&self) -> u64 {
        self.sent.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn hear(&self, payload: &[u8]) {
        let beat = std::str::from_utf8(payload).ok().and_then(|text| text.parse::<u64>().ok());
        // A beat that was never sent is somebody else's.
        let Some(beat) = beat.filter(|beat| *beat <= self.sent.load(Ordering::SeqCst)) else {
            return;
        };
        self.heard.fetch_max(beat, Ordering::SeqCst);
        self.restart();
    }

    /// Silence counts from now on.
    pub(super) fn restart(&self) {
        *self.heard_at() = Instant::now();
    }

    pub(super) fn has_come_back(&self, beat: u64) -> bool {
        self.heard.load(Ordering::SeqCst) >= beat
    }

    /// A beat has not come back.
    pub(super) fn is_owed(&self) -> bool {
        self.heard.load(Ordering::SeqCst) < self.sent.load(Ordering::SeqCst)
    }

    /// How long nothing has come back.
    pub(super) fn silence(&self) -> Duration {
        self.heard_at().elapsed()
    }

    fn heard_at(&self) -> MutexGuard<'_, Instant> {
        self.heard_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_that_was_never_sent_is_not_heard() {
        let beats = Beats::new();
        assert!(!beats.is_owed());
        let first = beats.next();
        for payload in [&b"2"[..], b"", b"one", b"\xff", b"18446744073709551616"] {
            beats.hear(payload);
            assert!(beats.is_owed() && !beats.has_come_back(first), "{payload:?}");
        }
        beats.hear(b"1");
        assert!(!beats.is_owed() && beats.has_come_back(first));
    }
}
