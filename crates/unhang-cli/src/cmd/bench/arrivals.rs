//! When the next exchange begins: a clock's worth of arithmetic, without a clock.

use std::time::Duration;

/// What a thread does next. All times are counted from the beginning of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// One was due then: begin it as soon as a client is free. Its latency counts from then on, so
    /// that a server that stalls is charged with every exchange that came due meanwhile, and not only
    /// with those that it kept waiting at the time (coordinated omission).
    Due(Duration),
    /// Closed loop: a client that is free begins one, and its latency counts from that moment.
    Now,
    /// Nothing before then.
    At(Duration),
    Never,
}

#[derive(Clone, Debug)]
pub(super) enum Arrivals {
    /// Everybody begins the next as soon as the last one has ended.
    Closed { until: Option<Duration>, left: Option<u64> },
    /// One after the other, at times that do not depend on how the server does.
    Open(Schedule),
}

/// The share of one thread in a constant rate: of all exchanges every `step`th, from `next` on.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    next: u64,
    step: u64,
    end: u64,
    rate: f64,
}

impl Schedule {
    pub(super) fn new(nth: u64, threads: u64, rate: f64, exchanges: u64) -> Self {
        Self { next: nth, step: threads, end: exchanges, rate }
    }

    fn due(&self) -> Option<Duration> {
        // A run has far fewer exchanges than a float has integers.
        #[allow(clippy::cast_precision_loss)]
        (self.next < self.end).then(|| Duration::from_secs_f64(self.next as f64 / self.rate))
    }
}

impl Arrivals {
    pub(super) fn next(&self, now: Duration) -> Next {
        match self {
            Self::Closed { left: Some(0), .. } => Next::Never,
            Self::Closed { until: Some(until), .. } if now >= *until => Next::Never,
            Self::Closed { .. } => Next::Now,
            Self::Open(schedule) => match schedule.due() {
                Some(due) if due <= now => Next::Due(due),
                Some(due) => Next::At(due),
                None => Next::Never,
            },
        }
    }

    /// One was begun.
    pub(super) fn begun(&mut self) {
        match self {
            Self::Closed { left, .. } => *left = left.map(|left| left.saturating_sub(1)),
            Self::Open(schedule) => schedule.next += schedule.step,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A server with one client that takes 1 ms for an answer, and once, from 500 ms on, 300 ms
    /// more. Gives the latencies.
    fn simulate(mut arrivals: Arrivals) -> Vec<Duration> {
        let (mut now, mut stall, mut latencies) = (Duration::ZERO, 300 * MS, Vec::new());
        loop {
            let since = match arrivals.next(now) {
                Next::Now => now,
                Next::Due(due) => due,
                Next::At(then) => {
                    now = then;
                    continue;
                }
                Next::Never => return latencies,
            };
            arrivals.begun();
            now += MS;
            if now > 500 * MS {
                now += std::mem::take(&mut stall);
            }
            latencies.push(now.checked_sub(since).unwrap());
        }
    }

    fn longer_than(latencies: &[Duration], bound: Duration) -> usize {
        latencies.iter().filter(|latency| **latency > bound).count()
    }

    #[test]
    fn a_stall_is_charged_with_every_exchange_that_was_due_meanwhile() {
        // 100 per second, for 2 s: some 30 were due during those 300 ms.
        let open = simulate(Arrivals::Open(Schedule::new(0, 1, 100.0, 200)));
        assert_eq!(open.len(), 200);
        assert!((29..=36).contains(&longer_than(&open, 2 * MS)), "{open:?}");
        // They waited 300 ms, 291, 282, …: half of them for more than half of it.
        assert!((14..=18).contains(&longer_than(&open, 150 * MS)), "{open:?}");

        // A closed loop sees the same stall once, among hundreds.
        let closed = simulate(Arrivals::Closed { until: Some(2000 * MS), left: None });
        assert_eq!(longer_than(&closed, 2 * MS), 1);
        assert!(closed.len() > 1_000);
    }

    #[test]
    fn threads_share_a_rate_without_a_gap() {
        let mut due = Vec::new();
        for nth in 0..3 {
            let mut arrivals = Arrivals::Open(Schedule::new(nth, 3, 1_000.0, 10));
            while let Next::Due(at) = arrivals.next(Duration::MAX) {
                due.push(at);
                arrivals.begun();
            }
        }
        due.sort();
        assert_eq!(due, (0..10).map(|nth| nth * MS).collect::<Vec<_>>());
    }

    #[test]
    fn a_closed_loop_ends_by_count_or_by_time() {
        let mut arrivals = Arrivals::Closed { until: None, left: Some(2) };
        for _ in 0..2 {
            assert_eq!(arrivals.next(Duration::MAX), Next::Now);
            arrivals.begun();
        }
        assert_eq!(arrivals.next(Duration::ZERO), Next::Never);
        let arrivals = Arrivals::Closed { until: Some(MS), left: None };
        assert_eq!((arrivals.next(MS / 2), arrivals.next(MS)), (Next::Now, Next::Never));
    }
}
