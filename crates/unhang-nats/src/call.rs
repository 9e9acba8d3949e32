//! One call at a door, as a value: what came goes in, what is to be done next comes out. No socket, no
//! clock: moments are given.
//!
//! Its rule: a call is sent again only if it is certain that it has not run, unless it may run twice.
//!
//! A *wary* call asks first which worker is free, and is then sent to that one alone. To ask runs nothing, so it
//! may be asked again and again: a worker or a node that swallows messages costs such a call some milliseconds.

use std::time::{Duration, Instant};

use crate::protocol::Word;

mod outcome;
mod times;

pub use outcome::Outcome;
pub(crate) use times::Times;

/// A call is sent again so often at most, after the first time.
const RESENDS: u32 = 3;

/// All busy: this part of the time may go by with trying again; then the client is told.
const PART_FOR_BUSY: u32 = 5;

/// A worker that does not know the call may have its answer still under way: it is asked again. A worker
/// that says nothing so often is stopped, or cut off.
const UNKNOWNS: u32 = 2;
const SILENCES: u32 = 3;

/// A long call is asked after less and less often: this part of the time that it has taken.
const PART_FOR_PROBES: u32 = 8;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Word(Word),
    /// Nobody is subscribed to the service: NATS says so itself (status 503).
    NoWorker,
    /// Nobody is subscribed to the worker's own subject.
    WorkerGone,
    /// The connection to the node on which the call was sent is gone.
    LinkLost,
    /// Time has passed.
    Tick,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for what comes, until then.
    Wait(Instant),
    /// Send it after that time, on another connection if there is one; to the [`Call::chosen`] worker, if
    /// one is.
    Send(Instant),
    /// Ask after that time which worker is free, on another connection if there is one.
    Seek(Instant),
    /// Ask this worker whether it is at it, then wait until then.
    Probe(String, Instant),
    Done(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be sent.
    Due,
    /// It was asked which worker is free.
    Seeking,
    /// Sent, and nothing has come.
    Sent,
    /// A worker has it, and was asked at that moment whether it still has.
    Accepted,
    Probed,
}

#[derive(Debug)]
pub(crate) struct Call {
    times: Times,
    is_idempotent: bool,
    is_wary: bool,
    begun: Instant,
    until: Instant,
    stage: Stage,
    /// When the stage began.
    since: Instant,
    pub(crate) resends: u32,
    /// How often it was asked which worker is free, without an answer.
    pub(crate) unanswered: u32,
    /// Until when that is asked.
    offers: Instant,
    /// What became of an earlier sending that may have run.
    before: Option<Outcome>,
    worker: Option<String>,
    /// Where the worker listens that said that it is free.
    chosen: Option<String>,
    unknowns: u32,
    silences: u32,
}

impl Call {
    pub(crate) fn new(times: Times, now: Instant, budget: Duration, is_idempotent: bool) -> Self {
        Self {
            is_idempotent,
            is_wary: false,
            offers: now + times.offer.max(times.accept + times.grace),
            times,
            begun: now,
            until: now + budget,
            stage: Stage::Due,
            since: now,
            resends: 0,
            unanswered: 0,
            before: None,
            worker: None,
            chosen: None,
            unknowns: 0,
            silences: 0,
        }
    }

    /// It asks first which worker is free.
    pub(crate) fn wary(self) -> Self {
        Self { is_wary: true, ..self }
    }

    /// Where the worker listens that it is sent to; none if any may have it.
    pub(crate) fn chosen(&self) -> Option<&str> {
        self.chosen.as_deref()
    }

    /// The worker that has said a word last.
    pub(crate) fn worker(&self) -> Option<&str> {
        self.worker.as_deref()
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// It is sent now; wait until then.
    pub(crate) fn sent(&mut self, now: Instant) -> Instant {
        self.enter(Stage::Sent, now);
        self.due()
    }

    /// It is asked now which worker is free; wait until then.
    pub(crate) fn sought(&mut self, now: Instant) -> Instant {
        self.enter(Stage::Seeking, now);
        self.due()
    }

    pub(crate) fn on(&mut self, now: Instant, input: Input) -> Step {
        if let Input::Word(word) = &input {
            self.note(word);
        }
        match self.step(now, input) {
            Step::Done(outcome) => Step::Done(self.in_truth(outcome)),
            step => step,
        }
    }

    /// A call that was sent again may have run before, also if this time it has not.
    pub(crate) fn in_truth(&self, outcome: Outcome) -> Outcome {
        match &self.before {
            Some(before) if outcome.has_not_run() => before.clone(),
            _ => outcome,
        }
    }

    fn step(&mut self, now: Instant, input: Input) -> Step {
        match (self.stage, input) {
            (Stage::Seeking, Input::Word(Word::Free { direct, .. })) => {
                self.chosen = Some(direct);
                self.enter(Stage::Due, now);
                Step::Send(now)
            }
            (Stage::Seeking, Input::LinkLost) => Step::Seek(now),
            // Nothing was sent that could be answered.
            (Stage::Seeking, Input::Word(Word::Answer | Word::Failed { .. })) => self.tick(now),
            (_, Input::Word(Word::Answer)) => Step::Done(Outcome::Answered),
            (_, Input::Word(Word::Failed { code, .. })) => Step::Done(Outcome::Failed(code)),
            // The chosen worker has gone. Others may be there.
            (Stage::Sent, Input::NoWorker) if self.chosen.is_some() => {
                self.again(now, Outcome::Stopping)
            }
            (Stage::Sent | Stage::Seeking, Input::NoWorker) => self.again(now, Outcome::NoWorker),
            (Stage::Sent | Stage::Seeking, Input::Word(Word::Busy { .. })) => {
                self.again(now, Outcome::Busy)
            }
            (Stage::Sent | Stage::Seeking, Input::Word(Word::Late { .. })) => {
                self.again(now, Outcome::Late)
            }
            (Stage::Sent | Stage::Seeking, Input::Word(Word::Stopping { .. })) => {
                self.again(now, Outcome::Stopping)
            }
            (Stage::Sent, Input::Word(Word::Accepted { .. })) => {
                self.enter(Stage::Accepted, now);
                Step::Wait(self.due())
            }
            (Stage::Probed, Input::Word(Word::Running)) => {
                (self.unknowns, self.silences) = (0, 0);
                self.enter(Stage::Accepted, now);
                Step::Wait(self.due())
            }
            (Stage::Probed, Input::Word(Word::Unknown)) => {
                (self.unknowns, self.silences) = (self.unknowns + 1, 0);
                if self.unknowns >= UNKNOWNS {
                    return self.perhaps_again(now, Outcome::Lost);
                }
                self.enter(Stage::Accepted, now);
                Step::Wait(self.due())
            }
            (Stage::Accepted | Stage::Probed, Input::WorkerGone) => {
                self.perhaps_again(now, Outcome::Lost)
            }
            (Stage::Sent | Stage::Accepted | Stage::Probed, Input::LinkLost) => {
                self.perhaps_again(now, Outcome::ConnectionLost)
            }
            _ => self.tick(now),
        }
    }

    /// What time alone changes.
    fn tick(&mut self, now: Instant) -> Step {
        if now >= self.until {
            return Step::Done(match self.stage {
                Stage::Due => Outcome::NotConnected,
                Stage::Seeking => Outcome::NotOffered,
                Stage::Sent => Outcome::NotAccepted,
                Stage::Accepted | Stage::Probed => Outcome::Deadline,
            });
        }
        if now < self.due() {
            return Step::Wait(self.due());
        }
        match (self.stage, self.worker.clone()) {
            (Stage::Due, _) => self.go(now),
            (Stage::Seeking, _) => {
                self.unanswered += 1;
                match now >= self.offers {
                    true => Step::Done(Outcome::NotOffered),
                    false => Step::Seek(now),
                }
            }
            (Stage::Sent, _) | (_, None) => self.perhaps_again(now, Outcome::NotAccepted),
            (Stage::Accepted, Some(worker)) => self.probe(now, worker),
            (Stage::Probed, Some(worker)) => {
                self.silences += 1;
                match self.silences >= SILENCES {
                    // It may go on at any moment: not even an idempotent call is sent beside it.
                    true => Step::Done(Outcome::Silent),
                    false => self.probe(now, worker),
                }
            }
        }
    }

    fn probe(&mut self, now: Instant, worker: String) -> Step {
        self.enter(Stage::Probed, now);
        Step::Probe(worker, self.due())
    }

    /// It has not run, that is certain.
    fn again(&mut self, now: Instant, otherwise: Outcome) -> Step {
        let taken = now.saturating_duration_since(self.begun);
        let budget = self.until.saturating_duration_since(self.begun);
        let is_enough = match otherwise {
            // A service without a worker has none a moment later. Once more, by the other node: it may not
            // have heard yet of a worker that has just come.
            Outcome::NoWorker => self.resends >= 1,
            Outcome::Busy => self.resends >= RESENDS || taken >= budget / PART_FOR_BUSY,
            _ => self.resends >= RESENDS,
        };
        // Random, so that the doors which were all told at once do not all come again at once.
        let pause = match otherwise {
            Outcome::Busy => Duration::from_millis(fastrand::u64(2..=10 << self.resends.min(4))),
            _ => Duration::ZERO,
        };
        if is_enough || now + pause >= self.until {
            return Step::Done(otherwise);
        }
        self.resend(now, now + pause)
    }

    /// It may have run.
    fn perhaps_again(&mut self, now: Instant, otherwise: Outcome) -> Step {
        if !self.is_idempotent || self.resends >= RESENDS || now >= self.until {
            return Step::Done(otherwise);
        }
        self.before = Some(otherwise);
        // Something swallows messages: another worker is to be found.
        self.is_wary = true;
        self.offers = now + self.times.offer;
        self.resend(now, now)
    }

    fn resend(&mut self, now: Instant, at: Instant) -> Step {
        self.resends += 1;
        (self.unknowns, self.silences) = (0, 0);
        self.chosen = None;
        self.enter(Stage::Due, now);
        self.go(at)
    }

    fn go(&self, at: Instant) -> Step {
        if self.is_wary && self.chosen.is_none() { Step::Seek(at) } else { Step::Send(at) }
    }

    fn enter(&mut self, stage: Stage, now: Instant) {
        (self.stage, self.since) = (stage, now);
    }

    /// When the stage is over, if nothing comes.
    fn due(&self) -> Instant {
        let times = &self.times;
        let taken = self.since.saturating_duration_since(self.begun);
        let wait = match self.stage {
            Stage::Due => Duration::ZERO,
            Stage::Seeking => times.seek,
            Stage::Sent => times.accept + times.grace,
            Stage::Accepted => times.silence.max(taken / PART_FOR_PROBES),
            Stage::Probed => times.probe,
        };
        (self.since + wait).min(self.until)
    }

    fn note(&mut self, word: &Word) {
        match word {
            Word::Accepted { worker, .. }
            | Word::Busy { worker }
            | Word::Late { worker, .. }
            | Word::Stopping { worker }
            | Word::Free { worker, .. }
            | Word::Failed { worker, .. } => self.worker = Some(worker.clone()),
            Word::Answer | Word::Running | Word::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests;
