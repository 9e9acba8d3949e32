//! What `unhang serve` counts, in the text form of `OpenMetrics`, which Prometheus reads.
//! docs/metrics.md explains every name.

pub(crate) mod accept_queue;
pub(crate) mod endpoint;

use std::path::Path;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use unhang::{Ended, Event, Gauges, Limits};

use accept_queue::AcceptQueue;

/// All counters of one server.
pub(crate) struct Metrics {
    registry: Registry,
    exchanges: Family<Outcome, Counter>,
    refused: Family<Reason, Counter>,
    request_bytes: Counter,
    reply_bytes: Counter,
    seconds: Histogram,
    handler_seconds: Histogram,
    accept_failures: Counter,
    now: Now,
    gauges: Gauges,
}

/// What is looked up when somebody asks.
struct Now {
    connections: Gauge,
    held: Gauge,
    descriptors: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    ended: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    why: &'static str,
}

/// From the cost of an exchange that never waits up to the deadlines, each step about threefold.
const SECONDS: [f64; 12] =
    [0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

impl Metrics {
    pub(crate) fn new(limits: &Limits, gauges: Gauges, queue: Option<AcceptQueue>) -> Self {
        let mut registry = Registry::default();
        if let Some(queue) = queue {
            registry.register_collector(Box::new(queue));
        }
        let metrics = Self {
            registry,
            exchanges: Family::default(),
            refused: Family::default(),
            request_bytes: Counter::default(),
            reply_bytes: Counter::default(),
            seconds: Histogram::new(SECONDS),
            handler_seconds: Histogram::new(SECONDS),
            accept_failures: Counter::default(),
            now: Now {
                connections: Gauge::default(),
                held: Gauge::default(),
                descriptors: Gauge::default(),
            },
            gauges,
        };
        metrics.registered(limits)
    }

    fn registered(mut self, limits: &Limits) -> Self {
        let all = &mut self.registry;
        all.register(
            "unhang_exchanges",
            "Connections that have ended, by how",
            self.exchanges.clone(),
        );
        all.register(
            "unhang_refused",
            "Clients that were told why they get no answer, by why",
            self.refused.clone(),
        );
        for (name, help, counter) in [
            ("unhang_request", "Read from clients", &self.request_bytes),
            ("unhang_reply", "Written to clients", &self.reply_bytes),
        ] {
            all.register_with_unit(name, help, Unit::Bytes, counter.clone());
        }
        for (name, help, histogram) in [
            ("unhang_exchange_duration", "From the accept to the close", &self.seconds),
            ("unhang_handler_duration", "What handlers took", &self.handler_seconds),
        ] {
            all.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        all.register(
            "unhang_accept_failures",
            "Times that nobody could be accepted",
            self.accept_failures.clone(),
        );
        for (name, help, gauge) in [
            ("unhang_connections", "Connections under way", &self.now.connections),
            ("unhang_requests_held_bytes", "Held by requests under way", &self.now.held),
            ("process_open_fds", "File descriptors that are open", &self.now.descriptors),
        ] {
            all.register(name, help, gauge.clone());
        }
        for (name, help, limit) in [
            ("unhang_connections_limit", "Connections at once", limits.max_connections),
            ("unhang_requests_held_limit_bytes", "Held by requests at once", limits.max_held),
            ("process_max_fds", "File descriptors that may be open", descriptor_limit()),
        ] {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(limit).unwrap_or(i64::MAX));
            all.register(name, help, gauge);
        }
        self
    }

    pub(crate) fn count(&self, event: &Event<'_>) {
        match event {
            Event::Exchange(exchange) => {
                let ended = exchange.ended.code();
                self.exchanges.get_or_create(&Outcome { ended }).inc();
                if let Ended::Refused(cause) = &exchange.ended {
                    self.refused.get_or_create(&Reason { why: cause.code() }).inc();
                }
                self.request_bytes.inc_by(exchange.bytes_in as u64);
                self.reply_bytes.inc_by(exchange.bytes_out as u64);
                self.seconds.observe(exchange.took.as_secs_f64());
                if let Some(handled) = exchange.handled {
                    self.handler_seconds.observe(handled.as_secs_f64());
                }
            }
            Event::AcceptFailed(_) => {
                self.accept_failures.inc();
            }
            _ => {}
        }
    }

    /// Everything as it is now.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let set = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.now.connections, self.gauges.connections());
        set(&self.now.held, self.gauges.request_bytes());
        set(&self.now.descriptors, open_descriptors());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn open_descriptors() -> usize {
    Path::new("/proc/self/fd").read_dir().map_or(0, |entries| {
        // Less the one that reads the folder.
        entries.count().saturating_sub(1)
    })
}

fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
