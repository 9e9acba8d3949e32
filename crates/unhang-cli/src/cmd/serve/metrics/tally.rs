//! What is counted of the exchanges. Each thread counts apart from the others, as in one place they
//! would wait for each other with every exchange; who asks is given the sums.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use unhang::{Ended, Event};

/// Of all threads.
#[derive(Debug)]
pub(super) struct Tallies(Vec<Apart>);

/// On cache lines that nothing else is on; processors fetch two of 64 bytes at a time.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart(Mutex<Tally>);

#[derive(Debug, Default)]
struct Tally {
    exchanges: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
    request_bytes: u64,
    reply_bytes: u64,
    took: Durations,
    handled: Durations,
    accept_failures: u64,
}

#[derive(Debug, Default)]
struct Durations {
    /// By the first bound that they were within; the last were within none.
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

/// From the cost of an exchange that never waits up to the deadlines, each step about threefold.
const BOUNDS: [Duration; 12] = [
    Duration::from_micros(30),
    Duration::from_micros(100),
    Duration::from_micros(300),
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];

/// Few servers have more threads that count. Where there are, some share a place, and wait for each
/// other again.
const THREADS: usize = 64;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Each thread that counts has its own.
    static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
}

impl Tallies {
    pub(super) fn new() -> Self {
        Self((0..THREADS).map(|_| Apart::default()).collect())
    }

    pub(super) fn count(&self, event: &Event<'_>) {
        let own = NUMBER.with(|number| number % THREADS);
        self.0[own].tally().count(event);
    }

    fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        self.0.iter().for_each(|apart| sum.add(&apart.tally()));
        sum
    }
}

impl Apart {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn count(&mut self, event: &Event<'_>) {
        match event {
            Event::Exchange(exchange) => {
                *self.exchanges.entry(exchange.ended.code()).or_default() += 1;
                if let Ended::Refused(cause) = &exchange.ended {
                    *self.refused.entry(cause.code()).or_default() += 1;
                }
                self.request_bytes += exchange.bytes_in as u64;
                self.reply_bytes += exchange.bytes_out as u64;
                self.took.count(exchange.took);
                if let Some(handled) = exchange.handled {
                    self.handled.count(handled);
                }
            }
            Event::AcceptFailed(_) => self.accept_failures += 1,
            _ => {}
        }
    }

    fn add(&mut self, other: &Self) {
        for (sums, counts) in
            [(&mut self.exchanges, &other.exchanges), (&mut self.refused, &other.refused)]
        {
            for (word, count) in counts {
                *sums.entry(word).or_default() += count;
            }
        }
        self.request_bytes += other.request_bytes;
        self.reply_bytes += other.reply_bytes;
        self.took.add(&other.took);
        self.handled.add(&other.handled);
        self.accept_failures += other.accept_failures;
    }
}

impl Durations {
    fn count(&mut self, duration: Duration) {
        self.counts[BOUNDS.partition_point(|bound| *bound < duration)] += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

impl Collector for Tallies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sum = self.sum();
        for (name, help, label, counts) in [
            ("unhang_exchanges", "Connections that have ended, by how.", "ended", &sum.exchanges),
            (
                "unhang_refused",
                "Clients that were told why they get no answer, by why.",
                "why",
                &sum.refused,
            ),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (word, count) in counts {
                ConstCounter::new(*count).encode(family.encode_family(&[(label, *word)])?)?;
            }
        }
        for (name, help, unit, count) in [
            ("unhang_request", "Read from clients.", Some(&Unit::Bytes), sum.request_bytes),
            ("unhang_reply", "Written to clients.", Some(&Unit::Bytes), sum.reply_bytes),
            (
                "unhang_accept_failures",
                "Times that nobody could be accepted.",
                None,
                sum.accept_failures,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
            ConstCounter::new(count).encode(metric)?;
        }
        for (name, help, durations) in [
            ("unhang_exchange_duration", "From the accept to the close.", &sum.took),
            ("unhang_handler_duration", "What handlers took.", &sum.handled),
        ] {
            let unit = Some(&Unit::Seconds);
            let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
            let bounds = BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(durations.counts).collect();
            let (sum, count) = (durations.sum.as_secs_f64(), durations.counts.iter().sum());
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn every_thread_counts_and_the_sums_are_told() {
        let tallies = std::sync::Arc::new(Tallies::new());
        std::thread::scope(|scope| {
            for _ in 0..2 * THREADS {
                scope.spawn(|| {
                    let error = io::Error::from(io::ErrorKind::OutOfMemory);
                    tallies.count(&Event::AcceptFailed(&error));
                });
            }
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(tallies));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = format!("unhang_accept_failures_total {}\n", 2 * THREADS);
        assert!(text.contains(&line), "{text}");
    }

    #[test]
    fn a_duration_counts_at_the_first_bound_that_it_is_within() {
        let mut durations = Durations::default();
        for duration in [Duration::ZERO, BOUNDS[0], BOUNDS[1], Duration::from_secs(11)] {
            durations.count(duration);
        }
        let mut all = Durations::default();
        all.add(&durations);
        all.add(&durations);
        assert_eq!(all.counts, [4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(all.sum, 2 * (BOUNDS[0] + BOUNDS[1] + Duration::from_secs(11)));
    }
}
