//! How every exchange ended, and how long it took.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::io::Errno;

/// How an exchange ended. Every one does, and is counted in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The reply that was expected, and the end.
    Answered,
    /// A reply, and the server took only a part of the request.
    RequestCut,
    /// One line, `ERR …`, and the end.
    Refused,
    /// The reply, and no end in time: the classic hang.
    NotClosed,
    /// No whole reply in time.
    TimedOut,
    /// The end, before the reply was whole.
    Short,
    /// The end, after another reply than expected.
    Wrong,
    /// The end, before the first byte.
    Empty,
    /// ECONNRESET.
    Reset,
    /// Not connected in time, or not at all.
    ConnectFailed,
}

impl Ended {
    pub(super) const ALL: [Self; 10] = [
        Self::Answered,
        Self::RequestCut,
        Self::Refused,
        Self::NotClosed,
        Self::TimedOut,
        Self::Short,
        Self::Wrong,
        Self::Empty,
        Self::Reset,
        Self::ConnectFailed,
    ];

    /// In JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::RequestCut => "request_cut",
            Self::Refused => "refused",
            Self::NotClosed => "not_closed",
            Self::TimedOut => "timed_out",
            Self::Short => "short",
            Self::Wrong => "wrong",
            Self::Empty => "empty",
            Self::Reset => "reset",
            Self::ConnectFailed => "connect_failed",
        }
    }

    /// Whether the client has waited all that time for its answer. The others are left out of the
    /// latencies: a server is not fast because it fails fast.
    fn is_waited(self) -> bool {
        matches!(self, Self::Answered | Self::NotClosed | Self::TimedOut)
    }
}

/// To three digits, from a nanosecond: finer than any two runs agree.
const DIGITS: u8 = 3;
/// An hour: no deadline is sensibly longer. A longer one counts as this.
const LONGEST: u64 = 3_600_000_000_000;

/// The counts and times of one thread, or of all.
#[derive(Debug)]
pub(super) struct Tally {
    ended: [u64; Ended::ALL.len()],
    pub(super) latency: Histogram<u64>,
    /// Why connecting failed, and how often.
    pub(super) errors: BTreeMap<i32, u64>,
    /// How many found the accept queue full before they were connected, or gave up.
    pub(super) queue_full: u64,
    /// Open loop: how many were begun late, be it that no client was free …
    pub(super) late: u64,
    /// … or that the generator itself was held up: those are no word on the server.
    pub(super) late_generator: u64,
    /// Open loop: how many were due and could not be begun before the end.
    not_started: u64,
    /// From the beginning to the last answer.
    pub(super) last_answer: Duration,
}

impl Tally {
    pub(super) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            ended: [0; Ended::ALL.len()],
            latency: Histogram::new_with_bounds(1, LONGEST, DIGITS)?,
            errors: BTreeMap::new(),
            queue_full: 0,
            late: 0,
            late_generator: 0,
            not_started: 0,
            last_answer: Duration::ZERO,
        })
    }

    pub(super) fn count(&mut self, ended: Ended, took: Duration) {
        self.ended[ended as usize] += 1;
        if ended.is_waited() {
            self.waited(took);
        }
    }

    /// One that was due, and has waited so long for a free client in vain.
    pub(super) fn not_started(&mut self, waited: Duration) {
        self.not_started += 1;
        self.waited(waited);
    }

    fn waited(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(LONGEST);
        self.latency.saturating_record(nanos);
    }

    pub(super) fn connect_failed(&mut self, error: Errno, took: Duration) {
        self.ended[Ended::ConnectFailed as usize] += 1;
        *self.errors.entry(error.raw_os_error()).or_default() += 1;
        // It has waited for room until the timeout, and did not fail fast.
        if matches!(error, Errno::AGAIN | Errno::TIMEDOUT) {
            self.waited(took);
        }
    }

    pub(super) fn of(&self, ended: Ended) -> u64 {
        self.ended[ended as usize]
    }

    pub(super) fn never_started(&self) -> u64 {
        self.not_started
    }

    /// All that were begun.
    pub(super) fn exchanges(&self) -> u64 {
        self.ended.iter().sum()
    }

    /// Whether every exchange that was asked for ended as it must, and there was any: a
    /// run that is interrupted before has found out nothing.
    pub(super) fn is_clean(&self) -> bool {
        let answered = self.of(Ended::Answered);
        answered > 0 && answered == self.exchanges() && self.not_started == 0
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in self.ended.iter_mut().zip(other.ended) {
            *sum += count;
        }
        // Of the same bounds, so it fits.
        let _ = self.latency.add(&other.latency);
        for (error, count) in &other.errors {
            *self.errors.entry(*error).or_default() += count;
        }
        self.queue_full += other.queue_full;
        self.late += other.late;
        self.late_generator += other.late_generator;
        self.not_started += other.not_started;
        self.last_answer = self.last_answer.max(other.last_answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_counted_once_and_sums_up_over_threads() {
        let mut all = Tally::new().unwrap();
        for (nth, ended) in Ended::ALL.into_iter().enumerate() {
            let mut one = Tally::new().unwrap();
            for _ in 0..=nth {
                one.count(ended, Duration::from_millis(1));
            }
            all.add(&one);
        }
        for (nth, ended) in Ended::ALL.into_iter().enumerate() {
            assert_eq!(all.of(ended), nth as u64 + 1, "{}", ended.name());
        }
        assert_eq!(all.exchanges(), 55);
        assert!(!all.is_clean());
    }

    #[test]
    fn what_fails_fast_makes_nobody_fast() {
        let mut tally = Tally::new().unwrap();
        tally.count(Ended::Answered, Duration::from_millis(10));
        tally.count(Ended::TimedOut, Duration::from_secs(5));
        for ended in [Ended::Refused, Ended::Reset, Ended::Empty, Ended::Short, Ended::Wrong] {
            tally.count(ended, Duration::from_micros(1));
        }
        tally.connect_failed(Errno::CONNREFUSED, Duration::from_micros(1));
        assert_eq!(tally.latency.len(), 2);
        assert!(tally.latency.min() > 9_000_000);
        assert_eq!(tally.errors[&Errno::CONNREFUSED.raw_os_error()], 1);
    }

    #[test]
    fn only_answers_are_clean_and_all_that_were_due_must_have_begun() {
        let mut tally = Tally::new().unwrap();
        assert!(!tally.is_clean());
        tally.count(Ended::Answered, Duration::ZERO);
        assert!(tally.is_clean());
        tally.not_started(Duration::from_secs(9));
        assert_eq!(tally.latency.len(), 2);
        assert!(!tally.is_clean());
    }
}
