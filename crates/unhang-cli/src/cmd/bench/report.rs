//! The table at the end.

use std::fmt::{self, Display};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use rustix::io::Errno;

use super::drain::Spread;
use super::figures::{Took, grouped, rounded, time_each};
use super::plan::{Mode, Outcome, Plan, Usage};
use super::server;
use super::tally::Ended;
use super::target::Target;
use super::wire::Wire;
use crate::shell::quoted;

#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    pub(super) plan: &'a Plan,
    pub(super) outcome: &'a Outcome,
}

const BAD: Style = AnsiColor::Red.on_default().bold();
const UNSURE: Style = AnsiColor::Yellow.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const LABEL: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Of a column: three digits, a point, a unit, and some air.
const WIDTH: usize = 10;
/// A thread that runs for this part of the time had no time left to load the server more.
const SATURATED: f64 = 0.9;

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{LABEL}{}{LABEL:#}", self.plan.script.target)?;
        writeln!(f, "{}{}", label("load"), self.plan)?;
        self.exchanges(f)?;
        self.ends(f)?;
        self.schedule(f)?;
        if matches!(self.plan.mode, Mode::Drain(_)) {
            self.rounds(f)?;
            self.who(f)?;
        } else {
            self.latency(f)?;
            self.cpu(f)?;
        }
        self.idle(f)?;
        self.advice(f)
    }
}

impl Report<'_> {
    fn exchanges(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, took) = (grouped(self.outcome.tally.exchanges()), Took(self.outcome.elapsed));
        write!(f, "{}{count} in {took}", label("exchanges"))?;
        if let (Mode::Load(_), Some(rate)) = (&self.plan.mode, self.outcome.per_second()) {
            write!(f, ", {} answers per second", rounded(rate))?;
        }
        match self.outcome.was_interrupted {
            true => writeln!(f, "   {UNSURE}interrupted{UNSURE:#}"),
            false => writeln!(f),
        }
    }

    /// How they ended: what did not happen is not listed.
    fn ends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.outcome.tally;
        if tally.is_clean() {
            let ended = match self.plan.script.wire {
                Wire::OneShot => "all answered and closed",
                Wire::Lines | Wire::Http | Wire::Goridge => "all answered",
            };
            return writeln!(f, "{}{GOOD}{ended}{GOOD:#}", label(""));
        }
        let ends = Ended::ALL.into_iter().map(|ended| (meaning(ended), tally.of(ended)));
        let ends = ends.chain([("were due, and no client was free", tally.never_started())]);
        let ends: Vec<_> = ends.filter(|(_, count)| *count > 0).collect();
        let counts: Vec<_> = ends.iter().map(|(_, count)| grouped(*count)).collect();
        let width = counts.iter().map(String::len).max().unwrap_or_default();
        for ((meaning, _), count) in ends.iter().zip(counts) {
            let style = if *meaning == meaning_of_answered() { GOOD } else { BAD };
            writeln!(f, "{}{style}{count:>width$} {meaning}{style:#}", label(""))?;
        }
        for (error, count) in &tally.errors {
            let error = why(Errno::from_raw_os_error(*error));
            writeln!(f, "{}{DIM}{error}: {}{DIM:#}", label(""), grouped(*count))?;
        }
        Ok(())
    }

    fn schedule(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.outcome.tally;
        let late = [
            (tally.late - tally.late_generator, "as no client was free"),
            (tally.late_generator, "as the generator itself was held up"),
        ];
        for (count, why) in late.into_iter().filter(|(count, _)| *count > 0) {
            let count = grouped(count);
            writeln!(f, "{}{UNSURE}{count} began late{UNSURE:#}, {why}", label(""))?;
        }
        if tally.queue_full > 0 {
            let full = grouped(tally.queue_full);
            writeln!(f, "{}{UNSURE}{full} found the accept queue full{UNSURE:#}", label(""))?;
        }
        Ok(())
    }

    fn latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.outcome.tally.latency;
        if latency.is_empty() {
            return Ok(());
        }
        let names = ["p50", "p90", "p99", "p99.9", "max"];
        let values = [0.5, 0.9, 0.99, 0.999, 1.0].map(|q| latency.value_at_quantile(q));
        table(f, "latency", &names, &values.map(Duration::from_nanos))
    }

    fn rounds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Mode::Drain(drain), [_, ..]) = (&self.plan.mode, &self.outcome.rounds[..]) else {
            return Ok(());
        };
        let clients = drain.clients as u64;
        let rounds = &self.outcome.rounds;
        let per_exchange = |all: Vec<Duration>| {
            Spread::of(all).each().map(|all| time_each(all, clients).unwrap_or_default())
        };
        let cpu = per_exchange(rounds.iter().map(|round| round.cpu).collect());
        let time = per_exchange(rounds.iter().map(|round| round.time).collect());
        table(f, "server CPU", &["min", "median", "max"], &cpu)?;
        row(f, "time", &time)?;
        let (rounds, clients) = (grouped(rounds.len() as u64), grouped(clients));
        writeln!(f, "{}{DIM}per exchange, in {rounds} rounds of {clients}{DIM:#}", label(""))
    }

    fn cpu(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exchanges = self.outcome.tally.exchanges();
        write!(f, "{}", label(""))?;
        for head in ["CPU each", "cores", "switches"] {
            write!(f, "{DIM}{head:>WIDTH$}{DIM:#}")?;
        }
        writeln!(f)?;
        write!(f, "{}", label("server"))?;
        match &self.outcome.server {
            Ok(usage) => {
                self.used(f, usage.cpu)?;
                let switches = usage.switches_each(exchanges).map_or(String::new(), rounded);
                writeln!(f, "{switches:>WIDTH$}   {DIM}{}{DIM:#}", who(usage))?;
            }
            Err(why) => writeln!(f, " {UNSURE}not known{UNSURE:#}: {why}")?,
        }
        write!(f, "{}", label("generator"))?;
        self.used(f, self.outcome.generator)?;
        writeln!(f)?;
        let is_limit = match &self.plan.mode {
            #[allow(clippy::cast_precision_loss)]
            Mode::Load(load) => {
                cores(self.outcome.generator, self.outcome.elapsed)
                    > SATURATED * load.threads() as f64
            }
            Mode::Drain(_) => false,
        };
        if is_limit {
            let advice = "judge the server by its CPU, not by the rate";
            writeln!(f, "{}{UNSURE}it was the limit{UNSURE:#}: {advice}", label(""))?;
        }
        Ok(())
    }

    /// Per exchange, and of the time that it took.
    fn used(&self, f: &mut fmt::Formatter<'_>, cpu: Duration) -> fmt::Result {
        let each = time_each(cpu, self.outcome.tally.exchanges());
        let each = each.map_or(String::new(), |each| Took(each).to_string());
        let cores = rounded(cores(cpu, self.outcome.elapsed));
        write!(f, "{each:>WIDTH$}{cores:>WIDTH$}")
    }

    /// A drain: the table of its rounds has the rest.
    fn who(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(usage) = &self.outcome.server {
            writeln!(f, "{}{}", label("server"), who(usage))?;
        }
        let each = time_each(self.outcome.generator, self.outcome.tally.exchanges());
        each.map_or(Ok(()), |each| {
            writeln!(f, "{}{} of CPU per exchange", label("generator"), Took(each))
        })
    }

    fn idle(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(idle) = self.outcome.idle else { return Ok(()) };
        write!(f, "{}{} open", label("idle"), grouped(idle.open as u64))?;
        match idle.closed {
            0 => writeln!(f),
            closed => writeln!(
                f,
                "; the server closed {}, and others came in their place",
                grouped(closed)
            ),
        }
    }

    fn advice(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target::Unix { address, .. } = &self.plan.script.target else { return Ok(()) };
        let hung = [Ended::NotClosed, Ended::TimedOut].map(|ended| self.outcome.tally.of(ended));
        if hung == [0, 0] {
            return Ok(());
        }
        let path = quoted(&address.to_string());
        writeln!(f, "{DIM}to see why, while it runs: unhang why {path}{DIM:#}")
    }
}

fn label(label: &str) -> String {
    format!("{LABEL}{label:<12}{LABEL:#}")
}

fn table(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    heads: &[&str],
    values: &[Duration],
) -> fmt::Result {
    write!(f, "{}", label(""))?;
    for head in heads {
        write!(f, "{DIM}{head:>WIDTH$}{DIM:#}")?;
    }
    writeln!(f)?;
    row(f, name, values)
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, values: &[Duration]) -> fmt::Result {
    write!(f, "{}", label(name))?;
    for value in values {
        write!(f, "{:>WIDTH$}", Took(*value))?;
    }
    writeln!(f)
}

fn who(usage: &Usage) -> String {
    let names = usage.pids.iter().map(|pid| format!("{}[{pid}]", server::name(*pid)));
    let names: Vec<_> = names.collect();
    match usage.processes - usage.pids.len().min(usage.processes) {
        0 => names.join(" "),
        more => format!("{} and {more} more", names.join(" ")),
    }
}

fn cores(cpu: Duration, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { cpu.as_secs_f64() / elapsed.as_secs_f64() }
}

fn meaning_of_answered() -> &'static str {
    meaning(Ended::Answered)
}

fn meaning(ended: Ended) -> &'static str {
    match ended {
        Ended::Answered => "answered and closed",
        Ended::RequestCut => "answered, and took only a part of the request",
        Ended::Refused => "refused: one line, ERR …, and closed",
        Ended::NotClosed => "answered, and not closed in time: the classic hang",
        Ended::TimedOut => "not answered in time",
        Ended::Short => "closed before the reply was whole",
        Ended::Wrong => "answered otherwise than expected",
        Ended::Empty => "closed without a reply",
        Ended::Reset => "reset",
        Ended::ConnectFailed => "could not connect",
    }
}

/// Why connecting failed.
pub(super) fn why(error: Errno) -> String {
    match error {
        Errno::AGAIN => "the accept queue was full until the timeout".to_owned(),
        Errno::TIMEDOUT => "not connected within the timeout".to_owned(),
        error => std::io::Error::from(error).to_string(),
    }
}
