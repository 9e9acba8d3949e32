//! Load by several threads: closed loop or a constant rate.

use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::arrivals::{Arrivals, Schedule};
use super::driver::{Driver, Watch};
use super::exchange::Script;
use super::tally::Tally;

/// How many at once, how fast, and how long.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) clients: usize,
    /// Exchanges per second in all: open loop.
    pub(super) rate: Option<f64>,
    pub(super) length: Length,
    /// Of each exchange.
    pub(super) timeout: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    For(Duration),
    Count(u64),
}

impl Load {
    pub(super) fn run(&self, script: &Script, watch: &Watch) -> io::Result<Tally> {
        let threads = self.threads();
        let began = Instant::now();
        let mut all = Tally::new().map_err(io::Error::other)?;
        thread::scope(|scope| {
            let drive = |nth| {
                let clients = share(self.clients, nth, threads);
                let arrivals = self.arrivals(nth as u64, threads as u64);
                let times = (began, self.last_start(began));
                let driver = Driver::new(script, watch, (clients, self.timeout), arrivals, times);
                scope.spawn(move || {
                    sharpen_timer();
                    run_to_its_end(driver, watch)
                })
            };
            let drivers: Vec<_> = (0..threads).map(drive).collect();
            for driver in drivers {
                let died = |_| Err(io::Error::other("a thread of the load died"));
                all.add(&driver.join().unwrap_or_else(died)?);
            }
            Ok(all)
        })
    }

    /// Half of the cores are left to the server.
    pub(super) fn threads(&self) -> usize {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (cores / 2).clamp(1, self.clients)
    }

    fn arrivals(&self, nth: u64, threads: u64) -> Arrivals {
        match (self.rate, self.length) {
            (None, Length::For(span)) => Arrivals::Closed { until: Some(span), left: None },
            (None, Length::Count(count)) => {
                let left = count / threads + u64::from(nth < count % threads);
                Arrivals::Closed { until: None, left: Some(left) }
            }
            (Some(rate), Length::Count(count)) => {
                Arrivals::Open(Schedule::new(nth, threads, rate, count))
            }
            (Some(rate), Length::For(span)) => {
                Arrivals::Open(Schedule::new(nth, threads, rate, within(rate, span)))
            }
        }
    }

    /// A constant rate that the server cannot keep up with builds up a crowd that waits for a free
    /// client. It is given as long as an exchange, from when the last was due.
    fn last_start(&self, began: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let span = match self.length {
            Length::For(span) => span,
            #[allow(clippy::cast_precision_loss)]
            Length::Count(count) => Duration::try_from_secs_f64(count as f64 / rate).ok()?,
        };
        began.checked_add(span)?.checked_add(self.timeout)
    }
}

/// One that fails ends all: what the others find is not told any more.
fn run_to_its_end(driver: io::Result<Driver<'_>>, watch: &Watch) -> io::Result<Tally> {
    let result = driver.and_then(Driver::run);
    if result.is_err() {
        watch.stop.store(true, Ordering::Relaxed);
    }
    result
}

/// How many are due within that time.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn within(rate: f64, span: Duration) -> u64 {
    let count = (rate * span.as_secs_f64()).ceil() as u64;
    // As a float, the product may be a little more than the whole number that it is.
    let last = Duration::try_from_secs_f64(count.saturating_sub(1) as f64 / rate);
    count - u64::from(count > 0 && last.is_ok_and(|last| last >= span))
}

fn share(all: usize, nth: usize, threads: usize) -> usize {
    all / threads + usize::from(nth < all % threads)
}

/// The kernel wakes a thread up to 50 µs late, to wake several at once. That would be in every
/// latency of a constant rate.
fn sharpen_timer() {
    // If it may not, the latencies are a little longer: no reason not to run.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_and_the_count_are_shared_out_to_the_last() {
        for threads in 1..5 {
            let clients: usize = (0..threads).map(|nth| share(7, nth, threads)).sum();
            assert_eq!(clients, 7);
            let length = Length::Count(7);
            let load = Load { clients: 7, rate: None, length, timeout: Duration::ZERO };
            let left = |nth| match load.arrivals(nth, threads as u64) {
                Arrivals::Closed { left: Some(left), .. } => left,
                other => panic!("{other:?}"),
            };
            assert_eq!((0..threads as u64).map(left).sum::<u64>(), 7);
        }
    }

    #[test]
    fn a_thread_that_fails_does_not_wait_for_the_others_until_their_end() {
        let watch = Watch::default();
        let failed = Err(io::Error::other("no descriptor for its epoll"));
        assert!(run_to_its_end(failed, &watch).is_err());
        assert!(watch.stop.load(Ordering::Relaxed));
    }

    #[test]
    fn a_rate_has_as_many_as_fall_within_its_time() {
        assert_eq!(within(100.0, Duration::from_secs(2)), 200);
        assert_eq!(within(0.5, Duration::from_secs(3)), 2);
        assert_eq!(within(0.01, Duration::from_secs(1)), 1);
        // As a float, this is a little more than 7: one more was begun, which was due at the end.
        assert_eq!(within(0.07, Duration::from_secs(100)), 7);
        assert_eq!(within(10_000_000.0, Duration::MAX), u64::MAX);
    }
}
