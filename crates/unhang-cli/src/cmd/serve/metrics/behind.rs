//! What is counted of the programs, workers and servers behind, and how they are now.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use unhang::backend::{Notice, WorkerCounts};

use super::tally::Durations;

/// Counts from the start on: workers are started before anybody can ask.
#[derive(Debug, Default)]
pub(crate) struct Behind(Mutex<Tally>);

#[derive(Debug, Default)]
struct Tally {
    started: u64,
    not_started: u64,
    ended: BTreeMap<&'static str, u64>,
    waited: Durations,
    held: u64,
    printed: u64,
    reply_ended: BTreeMap<&'static str, u64>,
    cut_early: u64,
    not_reached: u64,
}

/// What is behind, at one moment.
pub(crate) enum Now {
    Programs { running: usize, waiting: usize },
    Workers { counts: WorkerCounts, waiting: usize },
    Server,
}

/// Both, for a scrape.
pub(crate) struct Collected<F> {
    pub(crate) behind: Arc<Behind>,
    pub(crate) look: F,
}

impl Behind {
    pub(crate) fn count(&self, notice: &Notice) {
        let mut tally = self.tally();
        match notice {
            Notice::Started { .. } => tally.started += 1,
            Notice::NotStarted { .. } => tally.not_started += 1,
            Notice::Ended { why, .. } => *tally.ended.entry(why.code()).or_default() += 1,
            Notice::Waited { waited } => tally.waited.count(*waited),
            Notice::Held { .. } => tally.held += 1,
            Notice::Printed { .. } => tally.printed += 1,
            Notice::ReplyEnded { by } => *tally.reply_ended.entry(by.code()).or_default() += 1,
            Notice::CutEarly { .. } => tally.cut_early += 1,
            Notice::NotReached { .. } => tally.not_reached += 1,
            _ => {}
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fn() -> Now + Send + Sync + 'static> Collector for Collected<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (now, tally) = ((self.look)(), self.behind.tally());
        let encoder = &mut encoder;
        match now {
            Now::Programs { running, waiting } => {
                gauge(encoder, "unhang_programs", "Programs that run.", running)?;
                encode_waits(encoder, waiting, &tally)?;
                encode_processes(encoder, &tally)
            }
            Now::Workers { counts, waiting } => {
                encode_workers(encoder, counts)?;
                encode_waits(encoder, waiting, &tally)?;
                encode_processes(encoder, &tally)
            }
            Now::Server => encode_replies(encoder, &tally),
        }
    }
}

fn encode_workers(encoder: &mut DescriptorEncoder<'_>, counts: WorkerCounts) -> fmt::Result {
    let WorkerCounts { idle, busy, starting, dead, .. } = counts;
    let states = [("idle", idle), ("busy", busy), ("starting", starting), ("dead", dead)];
    let help = "Workers, by what they do.";
    let mut family = encoder.encode_descriptor("unhang_workers", help, None, MetricType::Gauge)?;
    for (state, count) in states {
        let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        gauge.encode(family.encode_family(&[("state", state)])?)?;
    }
    Ok(())
}

fn encode_waits(encoder: &mut DescriptorEncoder<'_>, waiting: usize, tally: &Tally) -> fmt::Result {
    let help = "Requests that wait for a program or worker.";
    gauge(encoder, "unhang_place_queue", help, waiting)?;
    let help = "What requests waited that did not get one at once.";
    tally.waited.encode(encoder, "unhang_place_wait", help)
}

fn encode_processes(encoder: &mut DescriptorEncoder<'_>, tally: &Tally) -> fmt::Result {
    for (name, help, count) in [
        ("unhang_program_starts", "Processes that were started.", tally.started),
        ("unhang_program_start_failures", "Processes that could not be.", tally.not_started),
        ("unhang_held_stdout", "Outputs that another process kept open.", tally.held),
        ("unhang_stray_lines", "Lines of workers that are no reply.", tally.printed),
    ] {
        counter(encoder, name, help, count)?;
    }
    let help = "Processes that have ended, by why.";
    family(encoder, "unhang_program_ends", help, "why", &tally.ended)
}

fn encode_replies(encoder: &mut DescriptorEncoder<'_>, tally: &Tally) -> fmt::Result {
    for (name, help, count) in [
        ("unhang_cut_early", "Replies that silence has ended, and that went on.", tally.cut_early),
        (
            "unhang_behind_connect_failures",
            "Requests whose server was not reached.",
            tally.not_reached,
        ),
    ] {
        counter(encoder, name, help, count)?;
    }
    let help = "Replies of the server behind, by what has shown their end.";
    family(encoder, "unhang_reply_ended", help, "by", &tally.reply_ended)
}

pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    count: usize,
) -> fmt::Result {
    let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

pub(super) fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    count: u64,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(count).encode(metric)
}

pub(super) fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    counts: &BTreeMap<&'static str, u64>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (word, count) in counts {
        ConstCounter::new(*count).encode(family.encode_family(&[(label, *word)])?)?;
    }
    Ok(())
}

impl<F> fmt::Debug for Collected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collected").field(&self.behind).finish()
    }
}
