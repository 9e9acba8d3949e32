//! How it goes, on standard error: one line that changes, if there is a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::driver::Watch;
use super::figures::{each, grouped};
use crate::units::Span;

/// Often enough to look alive, and seldom enough to cost nothing.
pub(super) const TICK: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    /// How long it takes, if that is known.
    span: Option<Duration>,
    /// How many had ended at the last look, and when that was.
    last: u64,
    last_at: Instant,
}

impl Progress {
    pub(super) fn new(span: Option<Duration>) -> Self {
        Self { is_shown: stderr().is_terminal(), span, last: 0, last_at: Instant::now() }
    }

    pub(super) fn tick(&mut self, watch: &Watch) {
        if self.is_shown {
            show(&self.line(watch, Instant::now()));
        }
    }

    fn line(&mut self, watch: &Watch, now: Instant) -> String {
        let began = watch.began.get().copied();
        let (ended, failed) =
            (watch.ended.load(Ordering::Relaxed), watch.failed.load(Ordering::Relaxed));
        if let Some(began) = began.filter(|began| *began > self.last_at) {
            // The warm-up's are no longer among those that have ended.
            (self.last, self.last_at) = (0, began);
        }
        let since = match (began, self.span) {
            (Some(began), Some(span)) => {
                format!("{:.0}s of {}", (now - began).as_secs_f64(), Span(span))
            }
            (Some(began), None) => format!("{:.0}s", (now - began).as_secs_f64()),
            (None, _) => "warm-up".to_owned(),
        };
        let lately = ended.saturating_sub(self.last);
        let span = (now - self.last_at).as_secs_f64();
        // Far below what an integer holds.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rate = each(span, lately)
            .filter(|each| *each > 0.0)
            .map_or(0, |each| (1.0 / each).round() as u64);
        (self.last, self.last_at) = (ended, now);
        let (ended, rate) = (grouped(ended), grouped(rate));
        let failed = match failed {
            0 => String::new(),
            failed => format!("   {} not as they must", grouped(failed)),
        };
        format!("{since:<12}{ended} exchanges   {rate}/s{failed}")
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.is_shown {
            show("");
        }
    }
}

/// To the beginning of the line, and clears it.
fn show(line: &str) {
    let _ = write!(stderr(), "\r\x1b[K{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rate_after_the_warm_up_was_nothing() {
        let (watch, mut progress) = (Watch::default(), Progress::new(None));
        let second = Duration::from_secs(1);
        watch.ended.store(40_000, Ordering::Relaxed);
        let line = progress.line(&watch, progress.last_at + second);
        assert_eq!(line, "warm-up     40,000 exchanges   40,000/s");

        progress.last_at = Instant::now();
        watch.begin();
        watch.ended.store(20_000, Ordering::Relaxed);
        let began = *watch.began.get().unwrap();
        let line = progress.line(&watch, began + second);
        assert_eq!(line, "1s          20,000 exchanges   20,000/s");
        watch.ended.store(50_000, Ordering::Relaxed);
        let line = progress.line(&watch, began + 2 * second);
        assert_eq!(line, "2s          50,000 exchanges   30,000/s");
    }
}
