//! What is counted of the exchanges: on the threads that serve, and read by the metrics endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use unhang::{Ended, Event};

/// A thread counts in one of them, so that no other thread that serves waits for it.
#[derive(Debug, Default)]
pub(super) struct Tallies([Apart; APART]);

/// More threads than that share one; few machines have more processors to serve a socket.
const APART: usize = 16;

/// On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart(Mutex<Tally>);

thread_local! {
    /// Where this thread counts.
    static HERE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % APART
    };
}

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
pub(super) struct Durations {
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

impl Tallies {
    pub(super) fn count(&self, event: &Event) {
        self.0[HERE.with(|here| *here)].look(|tally| tally.count(event));
    }

    fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        for apart in &self.0 {
            // Only added up under the lock, and told afterwards: a thread that serves may wait for it.
            apart.look(|tally| sum.add(tally));
        }
        sum
    }
}

impl Apart {
    fn look(&self, look: impl FnOnce(&mut Tally)) {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Tally {
    fn count(&mut self, event: &Event) {
        match event {
            Event::Exchange(exchange) => {
                *self.exchanges.entry(exchange.ended.code()).or_default() += 1;
                if let Ended::Refused(cause) | Ended::Cut(cause) = &exchange.ended {
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
    pub(super) fn count(&mut self, duration: Duration) {
        self.counts[BOUNDS.partition_point(|bound| *bound < duration)] += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    pub(super) fn encode(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        let bounds = BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.counts).collect();
        let (sum, count) = (self.sum.as_secs_f64(), self.counts.iter().sum());
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
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
            durations.encode(&mut encoder, name, help)?;
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
    fn what_was_counted_is_told() {
        let tallies = std::sync::Arc::new(Tallies::default());
        // Two of them on other threads, each of which counts apart.
        std::thread::scope(|threads| {
            let count = || {
                let error = io::Error::from(io::ErrorKind::OutOfMemory);
                tallies.count(&Event::AcceptFailed(error.into()));
            };
            threads.spawn(count);
            threads.spawn(count);
            count();
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(tallies));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("unhang_accept_failures_total 3\n"), "{text}");
    }

    #[test]
    fn a_duration_counts_at_the_first_bound_that_it_is_within() {
        let mut durations = Durations::default();
        for duration in [Duration::ZERO, BOUNDS[0], BOUNDS[1], Duration::from_secs(11)] {
            durations.count(duration);
        }
        assert_eq!(durations.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(durations.sum, BOUNDS[0] + BOUNDS[1] + Duration::from_secs(11));
    }
}
