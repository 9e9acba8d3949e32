//! How it goes, on standard error: one line that changes, where there is a terminal.

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
    /// How long it takes, where that is known.
    span: Option<Duration>,
    /// When what counts has begun.
    began: Option<Instant>,
    last: u64,
    last_at: Instant,
}

impl Progress {
    pub(super) fn new(span: Option<Duration>) -> Self {
        let is_shown = stderr().is_terminal();
        Self { is_shown, span, began: None, last: 0, last_at: Instant::now() }
    }

    pub(super) fn tick(&mut self, watch: &Watch) {
        if !self.is_shown {
            return;
        }
        let counts = watch.counts.load(Ordering::Relaxed);
        let (ended, failed) =
            (watch.ended.load(Ordering::Relaxed), watch.failed.load(Ordering::Relaxed));
        let now = Instant::now();
        if counts && self.began.is_none() {
            self.began = Some(now);
        }
        let since = match (self.began, self.span) {
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
        let rate = each(span, lately).map_or(0, |each| (1.0 / each).round() as u64);
        (self.last, self.last_at) = (ended, now);
        let (ended, rate) = (grouped(ended), grouped(rate));
        let failed = match failed {
            0 => String::new(),
            failed => format!("   {} not as they must", grouped(failed)),
        };
        show(&format!("{since:<12}{ended} exchanges   {rate}/s{failed}"));
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
