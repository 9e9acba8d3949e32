//! What a run does, in its order: warm-up, the measurement, and what both ends used.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::drain::{Drain, Round, Rounds};
use super::driver::Watch;
use super::exchange::Script;
use super::figures::each;
use super::idle::Idle;
use super::load::{Length, Load};
use super::server::{Server, Used};
use super::tally::{Ended, Tally};
use super::wire::Wire;

/// Checked: nothing in it is at odds with the rest.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) script: Script,
    pub(super) mode: Mode,
    pub(super) warm_up: Duration,
    pub(super) idle: usize,
    pub(super) timeout: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum Mode {
    Load(Load),
    Drain(Drain),
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) elapsed: Duration,
    /// Or why it is not known.
    pub(super) server: Result<Usage, String>,
    /// The processor time of this command.
    pub(super) generator: Duration,
    /// One for each drain.
    pub(super) rounds: Vec<Round>,
    pub(super) idle: Option<IdleSeen>,
    pub(super) was_interrupted: bool,
}

/// What the server has used meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    pub(super) pids: Vec<i32>,
    pub(super) processes: usize,
    pub(super) cpu: Duration,
    pub(super) switches: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct IdleSeen {
    pub(super) open: usize,
    pub(super) closed: u64,
}

impl Plan {
    pub(super) fn run(
        &self,
        server: &Result<Server, String>,
        watch: &Watch,
    ) -> Result<Outcome, String> {
        let says = |error: io::Error| error.to_string();
        if self.idle == 0 {
            return self.measure(server, watch);
        }
        let mut idle = Idle::open(&self.script.target, self.idle, self.timeout, watch)
            .map_err(|error| format!("cannot open the {} idle connections: {error}", self.idle))?;
        let is_over = AtomicBool::new(false);
        let mut outcome = thread::scope(|scope| {
            let keeper = thread::Builder::new().spawn_scoped(scope, || idle.keep(&is_over));
            let outcome = keeper.map_err(says).and_then(|_| self.measure(server, watch));
            is_over.store(true, Ordering::Relaxed);
            outcome
        })?;
        let closed = idle.closed.load(Ordering::Relaxed);
        outcome.idle = Some(IdleSeen { open: idle.open_now(), closed });
        Ok(outcome)
    }

    fn measure(&self, server: &Result<Server, String>, watch: &Watch) -> Result<Outcome, String> {
        if !self.warm_up.is_zero() {
            self.warmed().go(server, watch)?;
        }
        watch.begin();
        let mut outcome = self.go(server, watch)?;
        outcome.was_interrupted = watch.stop.load(Ordering::Relaxed);
        Ok(outcome)
    }

    /// The same for the time of the warm-up, so that the measurement begins with nobody under way.
    fn warmed(&self) -> Self {
        let mut plan = self.clone();
        match &mut plan.mode {
            Mode::Load(load) => load.length = Length::For(self.warm_up),
            Mode::Drain(drain) => drain.rounds = Rounds::For(self.warm_up),
        }
        plan
    }

    fn go(&self, server: &Result<Server, String>, watch: &Watch) -> Result<Outcome, String> {
        let before = server.as_ref().map_err(Clone::clone).and_then(Server::used);
        let (generator, began) = (own_cpu(), Instant::now());
        let (tally, rounds) = match (&self.mode, server) {
            (Mode::Load(load), _) => {
                let tally = load.run(&self.script, watch).map_err(|error| error.to_string())?;
                (tally, Vec::new())
            }
            (Mode::Drain(drain), Ok(server)) => {
                let mut tally = Tally::new().map_err(|error| error.to_string())?;
                let rounds = drain.run(server, &self.script, watch, &mut tally)?;
                (tally, rounds)
            }
            (Mode::Drain(_), Err(why)) => return Err(format!("cannot drain: {why}")),
        };
        let (elapsed, generator) = (began.elapsed(), own_cpu().saturating_sub(generator));
        let server = match (server, before) {
            (Ok(server), Ok(before)) => usage(server, before, &rounds),
            (_, Err(why)) => Err(why),
            (Err(why), _) => Err(why.clone()),
        };
        let (idle, was_interrupted) = (None, false);
        Ok(Outcome { tally, elapsed, server, generator, rounds, idle, was_interrupted })
    }
}

fn usage(server: &Server, before: Used, rounds: &[Round]) -> Result<Usage, String> {
    server.settle();
    let after = server.used()?;
    Ok(Usage {
        pids: server.pids(),
        processes: after.processes,
        cpu: match rounds {
            [] => after.cpu.saturating_sub(before.cpu),
            // Without what it does between two rounds, which is to stop and to go on.
            rounds => rounds.iter().map(|round| round.cpu).sum(),
        },
        switches: after.switches.saturating_sub(before.switches),
    })
}

fn own_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

impl Outcome {
    /// Answers, up to the last one: the time until a hung exchange is given up is nobody's speed.
    pub(super) fn per_second(&self) -> Option<f64> {
        let answered = self.tally.of(Ended::Answered);
        each(self.tally.last_answer.as_secs_f64(), answered)
            .filter(|each| *each > 0.0)
            .map(|each| 1.0 / each)
    }
}

impl Usage {
    pub(super) fn switches_each(&self, exchanges: u64) -> Option<f64> {
        // Far below what a float holds exactly.
        #[allow(clippy::cast_precision_loss)]
        each(self.switches as f64, exchanges)
    }
}

impl Plan {
    /// How long it takes, if that is known before.
    pub(super) fn span(&self) -> Option<Duration> {
        match &self.mode {
            Mode::Load(Load { length: Length::For(span), .. })
            | Mode::Drain(Drain { rounds: Rounds::For(span), .. }) => Some(*span),
            _ => None,
        }
    }

    /// How many descriptors it takes at once.
    pub(super) fn descriptors(&self) -> usize {
        let clients = match &self.mode {
            Mode::Load(load) => load.clients,
            Mode::Drain(drain) => drain.clients,
        };
        clients.saturating_add(self.idle)
    }
}

/// What is done, in a few words.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = |count: usize| match count {
            1 => "1 client".to_owned(),
            count => format!("{count} clients"),
        };
        match &self.mode {
            Mode::Load(Load { rate: None, clients: count, .. }) => {
                write!(f, "closed loop, {}", clients(*count))
            }
            Mode::Load(Load { rate: Some(rate), clients: count, .. }) => {
                write!(f, "open loop, {rate} per second, at most {} at once", clients(*count))
            }
            Mode::Drain(drain) => write!(f, "drain, {} per round", clients(drain.clients)),
        }?;
        match (self.script.wire, self.script.depth) {
            (Wire::OneShot, _) => Ok(()),
            (wire, 1) => write!(f, ", {} on kept connections", wire.name()),
            (wire, depth) => write!(f, ", {} on kept connections, {depth} at once", wire.name()),
        }
    }
}
