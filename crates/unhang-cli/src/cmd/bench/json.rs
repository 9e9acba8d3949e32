//! The same for machines: one object.

use std::time::Duration;

use rustix::io::Errno;
use serde_json::{Map, Value, json};

use super::drain::Spread;
use super::figures::time_each;
use super::plan::{Mode, Outcome, Plan, Usage};
use super::report::why;
use super::tally::{Ended, Tally};

/// Grows with every change that could break a reader.
const SCHEMA: &str = "unhang-bench/1";

pub(super) fn render(plan: &Plan, outcome: &Outcome, exit: u8) -> Value {
    let tally = &outcome.tally;
    let (mode, clients, rate) = match &plan.mode {
        Mode::Load(load) => match load.rate {
            None => ("closed", load.clients, None),
            Some(rate) => ("open", load.clients, Some(rate)),
        },
        Mode::Drain(drain) => ("drain", drain.clients, None),
    };
    json!({
        "schema": SCHEMA,
        "target": plan.script.target.to_string(),
        "mode": mode,
        "clients": clients,
        "rate": rate,
        "wire": plan.script.wire.name(),
        "depth": plan.script.depth,
        "request_bytes": plan.script.request.len(),
        "half_close": plan.script.half_close,
        "warm_up_s": plan.warm_up.as_secs_f64(),
        "timeout_s": plan.timeout.as_secs_f64(),
        "elapsed_s": outcome.elapsed.as_secs_f64(),
        "interrupted": outcome.was_interrupted,
        "exchanges": tally.exchanges(),
        "per_second": outcome.per_second(),
        "ended": ends(tally),
        "connect_errors": errors(tally),
        "queue_full": tally.queue_full,
        "late": tally.late,
        "late_generator": tally.late_generator,
        "not_started": tally.never_started(),
        "latency_ns": latency(plan, tally),
        "server": outcome.server.as_ref().ok().map(|usage| server(usage, tally.exchanges())),
        "server_unknown": outcome.server.as_ref().err(),
        "generator": {
            "cpu_s": outcome.generator.as_secs_f64(),
            "cpu_ns_per_exchange": nanos(time_each(outcome.generator, tally.exchanges())),
        },
        "idle": outcome.idle.map(|idle| json!({
            "open": idle.open,
            "closed_by_server": idle.closed,
        })),
        "drain": drain(plan, outcome),
        "exit": exit,
    })
}

fn ends(tally: &Tally) -> Map<String, Value> {
    let ends = Ended::ALL.into_iter();
    ends.map(|ended| (ended.name().to_owned(), tally.of(ended).into())).collect()
}

fn errors(tally: &Tally) -> Map<String, Value> {
    let errors = tally.errors.iter();
    errors.map(|(error, count)| (why(Errno::from_raw_os_error(*error)), (*count).into())).collect()
}

/// In a drain everybody waits for everybody: no latency of anyone's own.
fn latency(plan: &Plan, tally: &Tally) -> Option<Value> {
    let latency = &tally.latency;
    let is_one = matches!(plan.mode, Mode::Load(_)) && !latency.is_empty();
    is_one.then(|| {
        json!({
            "count": latency.len(),
            "min": latency.min(),
            "mean": latency.mean(),
            "p50": latency.value_at_quantile(0.5),
            "p90": latency.value_at_quantile(0.9),
            "p99": latency.value_at_quantile(0.99),
            "p99_9": latency.value_at_quantile(0.999),
            "max": latency.max(),
        })
    })
}

fn server(usage: &Usage, exchanges: u64) -> Value {
    json!({
        "pids": usage.pids,
        "processes": usage.processes,
        "cpu_s": usage.cpu.as_secs_f64(),
        "cpu_ns_per_exchange": nanos(time_each(usage.cpu, exchanges)),
        "switches_per_exchange": usage.switches_each(exchanges),
    })
}

fn drain(plan: &Plan, outcome: &Outcome) -> Option<Value> {
    let Mode::Drain(drain) = &plan.mode else { return None };
    let clients = drain.clients as u64;
    let rounds = &outcome.rounds;
    let spread = |all: Vec<Duration>| {
        let spread = Spread::of(all);
        json!({
            "min": nanos(time_each(spread.min, clients)),
            "median": nanos(time_each(spread.median, clients)),
            "max": nanos(time_each(spread.max, clients)),
        })
    };
    Some(json!({
        "cpu_ns_per_exchange": spread(rounds.iter().map(|round| round.cpu).collect()),
        "time_ns_per_exchange": spread(rounds.iter().map(|round| round.time).collect()),
        "rounds": rounds.iter().map(|round| json!({
            "cpu_ns": nanos(Some(round.cpu)),
            "time_ns": nanos(Some(round.time)),
        })).collect::<Vec<_>>(),
    }))
}

fn nanos(time: Option<Duration>) -> Option<u64> {
    time.and_then(|time| u64::try_from(time.as_nanos()).ok())
}
