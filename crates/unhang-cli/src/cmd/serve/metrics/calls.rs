//! What is counted of calls over NATS, at a door and at a service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use unhang_nats::Notice;

use super::behind::{counter, family, gauge};
use super::tally::Durations;

/// Counts from the start on.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Tally>);

#[derive(Debug, Default)]
struct Tally {
    outcomes: BTreeMap<&'static str, u64>,
    took: Durations,
    resends: u64,
    skewed: u64,
    refused: u64,
    complaints: u64,
    losses: u64,
    /// The node that each connection is on.
    nodes: BTreeMap<usize, String>,
}

/// With how many calls there are now, for a scrape.
pub(crate) struct Collected<F> {
    pub(crate) calls: Arc<Calls>,
    pub(crate) running: F,
}

impl Calls {
    pub(crate) fn count(&self, notice: &Notice) {
        let mut tally = self.tally();
        match notice {
            Notice::Called { outcome, resends, took, .. } => {
                *tally.outcomes.entry(outcome.code()).or_default() += 1;
                tally.resends += u64::from(*resends);
                tally.took.count(*took);
            }
            Notice::Served { outcome, took, .. } => {
                *tally.outcomes.entry(outcome).or_default() += 1;
                tally.took.count(*took);
            }
            Notice::Connected { link, node, .. } => {
                tally.nodes.insert(*link, node.clone());
            }
            Notice::Disconnected { link, .. } => {
                tally.nodes.remove(link);
                tally.losses += 1;
            }
            Notice::Skew { .. } => tally.skewed += 1,
            Notice::Refused { .. } => tally.refused += 1,
            Notice::Complaint { .. } => tally.complaints += 1,
            _ => {}
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fn() -> usize + Send + Sync + 'static> Collector for Collected<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (running, tally) = ((self.running)(), self.calls.tally());
        let encoder = &mut encoder;
        gauge(encoder, "unhang_nats_calls", "Calls under way.", running)?;
        let help = "Calls that are over, by how.";
        family(encoder, "unhang_nats_outcomes", help, "outcome", &tally.outcomes)?;
        tally.took.encode(encoder, "unhang_nats_call_duration", "From a call to its end.")?;
        for (name, help, count) in [
            ("unhang_nats_resends", "Calls that were sent again.", tally.resends),
            ("unhang_nats_skewed_clocks", "Workers whose clock is off.", tally.skewed),
            ("unhang_nats_refused_messages", "Messages that were no calls.", tally.refused),
            ("unhang_nats_complaints", "Errors that nodes told of.", tally.complaints),
            ("unhang_nats_lost_connections", "Connections that were lost.", tally.losses),
        ] {
            counter(encoder, name, help, count)?;
        }
        let help = "Connections that are there, and the node of each.";
        let gauge = MetricType::Gauge;
        let mut family = encoder.encode_descriptor("unhang_nats_connected", help, None, gauge)?;
        for (link, node) in &tally.nodes {
            let labels = [("connection", link.to_string()), ("node", node.clone())];
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl<F> fmt::Debug for Collected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collected").field(&self.calls).finish()
    }
}
