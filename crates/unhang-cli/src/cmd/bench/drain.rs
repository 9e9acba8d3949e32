//! Drain: the server is stopped while its clients come, and what it takes to answer them all is
//! measured when it goes on. Nothing is in it but the server: no client wakes it, and none waits.

mod sigcont_guard;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::driver::{BUFFER, Watch, timespec};
use super::exchange::{Exchange, Script, Step};
use super::server::Server;
use super::tally::{Ended, Tally};
use super::wire::Wire;
use sigcont_guard::SigcontGuard;

#[derive(Clone, Debug)]
pub(super) struct Drain {
    pub(super) clients: usize,
    pub(super) rounds: Rounds,
    /// From when the server goes on.
    pub(super) timeout: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Rounds {
    For(Duration),
    Count(u64),
}

/// What one round took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Of the server's processor time.
    pub(super) cpu: Duration,
    /// From when it goes on until the last client has its end.
    pub(super) time: Duration,
}

/// How long a connection over TCP may take. While the server is stopped nobody makes room for one that
/// finds none, so this is not the client's timeout.
const MOMENT: Duration = Duration::from_secs(1);
/// How long it is not looked at those that have ended already: a client that is woken by every
/// reply is work for the server's kernel side, and takes a core that the server may want.
const SLICE: Duration = Duration::from_millis(50);

impl Drain {
    pub(super) fn run(
        &self,
        server: &Server,
        script: &Script,
        watch: &Watch,
        tally: &mut Tally,
    ) -> Result<Vec<Round>, String> {
        let began = Instant::now();
        let mut guard =
            SigcontGuard::start().map_err(|error| format!("cannot start sh: {error}"))?;
        let mut rounds = Vec::new();
        while !watch.stop.load(Ordering::Relaxed) {
            let is_over = match self.rounds {
                // At least one, however short the time.
                Rounds::For(span) => began.elapsed() >= span && !rounds.is_empty(),
                Rounds::Count(count) => rounds.len() as u64 >= count,
            };
            if is_over {
                break;
            }
            rounds.extend(self.round(server, script, watch, tally, &mut guard)?);
        }
        tally.last_answer = began.elapsed();
        Ok(rounds)
    }

    /// None when it was interrupted.
    fn round(
        &self,
        server: &Server,
        script: &Script,
        watch: &Watch,
        tally: &mut Tally,
        guard: &mut SigcontGuard,
    ) -> Result<Option<Round>, String> {
        let held = guard.hold(server.handles())?;
        let mut waiting = Vec::with_capacity(self.clients);
        while waiting.len() < self.clients {
            if watch.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            waiting.push(enqueue(script, self.timeout, (waiting.len(), self.clients))?);
        }
        let before = server.used()?.cpu;
        let began = Instant::now();
        drop(held);
        let Some(time) = self.collect(waiting, script, watch, tally, began) else {
            return Ok(None);
        };
        server.settle();
        Ok(Some(Round { cpu: server.used()?.cpu.saturating_sub(before), time }))
    }

    /// Waits for the last in the queue, and finds that most others are done then.
    fn collect(
        &self,
        mut waiting: Vec<Exchange>,
        script: &Script,
        watch: &Watch,
        tally: &mut Tally,
        began: Instant,
    ) -> Option<Duration> {
        let mut buffer = vec![0; BUFFER];
        let mut time = Duration::ZERO;
        while let Some(last) = waiting.last() {
            if watch.stop.load(Ordering::Relaxed) {
                return None;
            }
            let left = (began + self.timeout).saturating_duration_since(Instant::now());
            let slice = timespec(left.min(SLICE));
            // Interrupted: as good as a slice that is over.
            let awaited = match script.wire {
                Wire::OneShot => PollFlags::RDHUP,
                Wire::Lines | Wire::Http | Wire::Goridge => PollFlags::IN,
            };
            let _ = poll(&mut [PollFd::new(last, awaited)], Some(&slice));
            time = began.elapsed();
            waiting.retain_mut(|exchange| {
                let mut step = exchange.go_on(script, &mut buffer);
                if matches!(step, Step::Waits) && left.is_zero() {
                    step = exchange.at_deadline(script, &mut buffer);
                }
                count(step, (exchange, script.depth), time, watch, tally)
            });
        }
        Some(time)
    }
}

/// Connects and writes all of the request.
fn enqueue(
    script: &Script,
    timeout: Duration,
    (before, all): (usize, usize),
) -> Result<Exchange, String> {
    let now = Instant::now();
    let mut exchange =
        Exchange::connect(script, now, now + timeout).map_err(|error| match error {
            Errno::AGAIN => format!(
                "expected room for {all} clients in the accept queue, it took {before}: \
             say --drain {before}, or raise the server's backlog (and net.core.somaxconn)"
            ),
            error => format!("cannot connect: {}", std::io::Error::from(error)),
        })?;
    exchange.begin(script);
    if !exchange.has_sent() {
        // TCP: connected in a moment, unless the queue is full.
        let moment = timespec(timeout.min(MOMENT));
        let _ = poll(&mut [PollFd::new(&exchange, PollFlags::OUT)], Some(&moment));
        exchange.go_on(script, &mut []);
    }
    match exchange.has_sent() {
        true => Ok(exchange),
        false => Err(format!(
            "client {} of {all} could not send its {} bytes while the server was stopped: they \
             must fit into the socket's buffer, and the clients into the accept queue",
            before + 1,
            script.request.len(),
        )),
    }
}

/// Whether it goes on.
fn count(
    step: Step,
    (exchange, depth): (&Exchange, usize),
    time: Duration,
    watch: &Watch,
    tally: &mut Tally,
) -> bool {
    match step {
        Step::Waits => return true,
        Step::Done(ended) => {
            for (ended, count) in exchange.counts(ended, depth) {
                for _ in 0..count {
                    tally.count(ended, time);
                    watch.count(ended);
                }
            }
        }
        Step::ConnectFailed(error) => {
            tally.connect_failed(error, time);
            watch.count(Ended::ConnectFailed);
        }
    }
    false
}

/// The least, the middle and the most of some times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    pub(super) min: Duration,
    pub(super) median: Duration,
    pub(super) max: Duration,
}

impl Spread {
    pub(super) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        match all[..] {
            [] => Self::default(),
            [min, .., max] => Self { min, median: all[all.len() / 2], max },
            [only] => Self { min: only, median: only, max: only },
        }
    }

    pub(super) fn each(self) -> [Duration; 3] {
        [self.min, self.median, self.max]
    }
}
