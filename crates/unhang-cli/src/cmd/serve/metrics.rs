//! What `unhang serve` counts, in the text form of `OpenMetrics`, which Prometheus reads.
//! docs/metrics.md explains every name.

pub(crate) mod accept_queue;
pub(crate) mod behind;
#[cfg(feature = "nats")]
pub(crate) mod calls;
pub(crate) mod endpoint;
mod tally;

use std::path::Path;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use unhang::{Event, Gauges, Limits};

use accept_queue::AcceptQueue;
use behind::{Behind, Collected};
use tally::Tallies;

/// All counters of one server.
pub(crate) struct Metrics {
    registry: Registry,
    tallies: Arc<Tallies>,
    now: Now,
    gauges: Gauges,
}

/// What is looked up when somebody asks.
struct Now {
    connections: Gauge,
    held: Gauge,
    descriptors: Gauge,
}

impl Metrics {
    pub(crate) fn new(limits: &Limits, gauges: Gauges, queue: Option<AcceptQueue>) -> Self {
        let tallies = Arc::new(Tallies::default());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(&tallies)));
        if let Some(queue) = queue {
            registry.register_collector(Box::new(queue));
        }
        let now = Now {
            connections: Gauge::default(),
            held: Gauge::default(),
            descriptors: Gauge::default(),
        };
        for (name, help, gauge) in [
            ("unhang_connections", "Connections under way", &now.connections),
            ("unhang_requests_held_bytes", "Held by requests under way", &now.held),
            ("process_open_fds", "File descriptors that are open", &now.descriptors),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, limit) in [
            ("unhang_connections_limit", "Connections at once", limits.max_connections),
            ("unhang_requests_held_limit_bytes", "Held by requests at once", limits.max_held),
            ("process_max_fds", "File descriptors that may be open", descriptor_limit()),
        ] {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(limit).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
        Self { registry, tallies, now, gauges }
    }

    /// Tells of what is behind, too.
    pub(crate) fn tell_of(
        &mut self,
        behind: Arc<Behind>,
        look: impl Fn() -> behind::Now + Send + Sync + 'static,
    ) {
        self.registry.register_collector(Box::new(Collected { behind, look }));
    }

    /// Of a service that has no socket.
    #[cfg(feature = "nats")]
    pub(crate) fn of_service() -> Self {
        let mut registry = Registry::default();
        let (connections, held, descriptors) = Default::default();
        let now = Now { connections, held, descriptors };
        for (name, help, gauge) in [
            ("process_open_fds", "File descriptors that are open", now.descriptors.clone()),
            ("process_max_fds", "File descriptors that may be open", Gauge::default()),
        ] {
            gauge.set(i64::try_from(descriptor_limit()).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
        Self { registry, tallies: Arc::default(), now, gauges: Gauges::default() }
    }

    /// Tells of calls over NATS, too.
    #[cfg(feature = "nats")]
    pub(crate) fn tell_of_calls(
        &mut self,
        calls: Arc<calls::Calls>,
        running: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        self.registry.register_collector(Box::new(calls::Collected { calls, running }));
    }

    pub(crate) fn count(&self, event: &Event) {
        self.tallies.count(event);
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
        // Less the one that reads the directory.
        entries.count().saturating_sub(1)
    })
}

fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
