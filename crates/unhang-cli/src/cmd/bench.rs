//! `unhang bench`: a load that counts every exchange, and what the server spends on one.

mod arrivals;
mod drain;
mod driver;
mod exchange;
mod figures;
mod flags;
mod idle;
mod json;
mod load;
mod output;
mod plan;
mod preflight;
mod progress;
mod reply;
mod report;
mod server;
mod tally;
mod target;
mod unreachable;
mod wire;

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::interval;
use unhang::termination;

use super::block_on;
use crate::exit;
use driver::Watch;
pub(crate) use flags::Bench;
use output::{complain, print};
use plan::{Mode, Outcome, Plan};
use progress::{Progress, TICK};
use report::Report;
use server::{Server, list};
use unreachable::Unreachable;

impl Bench {
    pub(crate) fn run(self) -> ExitCode {
        match self.outcome() {
            Ok((plan, outcome)) => {
                let is_clean = outcome.tally.is_clean();
                let code = if is_clean { exit::DONE } else { exit::FAULT };
                let text = match self.json {
                    true => format!("{}\n", json::render(&plan, &outcome, code)),
                    false => Report { plan: &plan, outcome: &outcome }.to_string(),
                };
                print(&text, code).into()
            }
            Err((code, why)) => {
                complain(why);
                code.into()
            }
        }
    }

    fn outcome(&self) -> Result<(Plan, Outcome), (u8, String)> {
        let plan = self.plan().map_err(|why| (exit::USAGE, why))?;
        allow_descriptors(plan.descriptors()).map_err(|why| (exit::FAILED, why))?;
        let named = match &self.pid[..] {
            [] => None,
            pids => Some(Server::new(pids).map_err(|why| (exit::USAGE, why))?),
        };
        let (target, timeout) = (&plan.script.target, plan.timeout);
        let found = preflight::ask(&plan.script, timeout).map_err(|error| {
            (exit::NOT_CONNECTED, Unreachable { target, error, timeout }.to_string())
        })?;
        let server = named.map_or(found, Ok);
        if let (Mode::Drain(_), Ok(server)) = (&plan.mode, &server) {
            let pids = list(&server.processes());
            complain(format_args!("stops the server (pid {pids}) in every round"));
        }
        let outcome = run(&plan, server).map_err(|why| (exit::FAILED, why))?;
        Ok((plan, outcome))
    }
}

/// Runs it beside the line that tells how it goes, until it ends or a signal ends it.
fn run(plan: &Plan, server: Result<Server, String>) -> Result<Outcome, String> {
    let watch = Arc::new(Watch::default());
    let result = block_on(async {
        let mut stop = pin!(termination());
        // Ctrl-Z: the server that it has stopped would stay so for as long.
        let mut suspended = match plan.mode {
            Mode::Drain(_) => signal(SignalKind::from_raw(Signal::TSTP.as_raw())).ok(),
            Mode::Load(_) => None,
        };
        let (work, watched) = (plan.clone(), Arc::clone(&watch));
        let mut work = spawn_blocking(move || work.run(&server, &watched));
        let (mut progress, mut ticks) = (Progress::new(plan.span()), interval(TICK));
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = ticks.tick() => progress.tick(&watch),
                () = &mut stop => {
                    watch.stop.store(true, Ordering::Relaxed);
                    stop.set(termination());
                }
                Some(()) = async { suspended.as_mut()?.recv().await } => {
                    watch.stop.store(true, Ordering::Relaxed);
                }
            }
        };
        progress.clear();
        result
    });
    match result {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(died)) => Err(format!("the load died: {died}")),
        Err(error) => Err(format!("cannot start the event loop: {error}")),
    }
}

/// What a process has open besides: standard streams, epoll, the runtime's, a file of /proc.
const OTHERS: usize = 64;

fn allow_descriptors(connections: usize) -> Result<(), String> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let wanted = connections.saturating_add(OTHERS) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    limit.current = Some(wanted);
    setrlimit(Resource::Nofile, limit).map_err(|_| {
        let most = limit.maximum.unwrap_or_default();
        format!(
            "{connections} connections take {wanted} descriptors, and it may have {most}: see \
             ulimit -Hn"
        )
    })
}
