//! One call at a door, as a value: what came goes in, what is to be done next comes out. No socket, no
//! clock: moments are given.
//!
//! Its rule: a call is sent again only if it is certain that it has not run, unless it may run twice.

use std::time::{Duration, Instant};

use crate::protocol::Word;

/// How long a door waits for what. Each default has its reason.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// Until when a worker may start a call. Longer than a busy machine takes to get to it, shorter than
    /// a person notices.
    pub(crate) accept: Duration,
    /// How long after that its word may come: a worker says `accepted` 20 ms after its start, and the
    /// word has a way to go.
    pub(crate) grace: Duration,
    /// A worker that said `accepted` is asked after so much silence whether it lives.
    pub(crate) silence: Duration,
    /// How long that worker has for its answer. Three of these are missed by a process that is stopped.
    pub(crate) probe: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            accept: Duration::from_millis(250),
            grace: Duration::from_millis(100),
            silence: Duration::from_millis(100),
            probe: Duration::from_millis(130),
        }
    }
}

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
    /// Send it after that time, on another connection if there is one.
    Send(Instant),
    /// Ask this worker whether it is at it, then wait until then.
    Probe(String, Instant),
    Done(Outcome),
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The bytes are the answer.
    Answered,
    /// The worker has failed; the bytes are its reason, and this its word for counters.
    Failed(String),
    /// No connection to any node. It did not run.
    NotConnected,
    /// The request is larger than NATS takes. It did not run.
    TooLarge,
    /// No worker is there. It did not run.
    NoWorker,
    /// All places of all workers that were asked are taken. It did not run.
    Busy,
    /// Every worker that was asked said that it came after its time. It did not run.
    Late,
    /// The workers that were asked stop. It did not run.
    Stopping,
    /// No worker said that it has it. It may have run.
    NotAccepted,
    /// The worker that had it is gone, or has lost it. It may have run.
    Lost,
    /// The worker that has it does not answer. It may have run, and may run on.
    Silent,
    /// The connection to the node was lost. It may have run.
    ConnectionLost,
    /// The worker was at it until the deadline. It may run on.
    Deadline,
}

impl Outcome {
    /// One stable word, for logs and counters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed(_) => "failed",
            Self::NotConnected => "not_connected",
            Self::TooLarge => "too_large",
            Self::NoWorker => "no_worker",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Stopping => "stopping",
            Self::NotAccepted => "not_accepted",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::ConnectionLost => "connection_lost",
            Self::Deadline => "deadline",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be sent.
    Due,
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
    begun: Instant,
    until: Instant,
    stage: Stage,
    /// When the stage began.
    since: Instant,
    pub(crate) resends: u32,
    worker: Option<String>,
    unknowns: u32,
    silences: u32,
}

impl Call {
    pub(crate) fn new(times: Times, now: Instant, budget: Duration, is_idempotent: bool) -> Self {
        Self {
            times,
            is_idempotent,
            begun: now,
            until: now + budget,
            stage: Stage::Due,
            since: now,
            resends: 0,
            worker: None,
            unknowns: 0,
            silences: 0,
        }
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

    pub(crate) fn on(&mut self, now: Instant, input: Input) -> Step {
        if let Input::Word(word) = &input {
            self.note(word);
        }
        match (self.stage, input) {
            (_, Input::Word(Word::Answer)) => Step::Done(Outcome::Answered),
            (_, Input::Word(Word::Failed { code, .. })) => Step::Done(Outcome::Failed(code)),
            (Stage::Sent, Input::NoWorker) => self.again(now, Outcome::NoWorker),
            (Stage::Sent, Input::Word(Word::Busy { .. })) => self.again(now, Outcome::Busy),
            (Stage::Sent, Input::Word(Word::Late { .. })) => self.again(now, Outcome::Late),
            (_, Input::Word(Word::Stopping { .. })) if self.stage == Stage::Sent => {
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
                Stage::Sent => Outcome::NotAccepted,
                Stage::Accepted | Stage::Probed => Outcome::Deadline,
            });
        }
        if now < self.due() {
            return Step::Wait(self.due());
        }
        match (self.stage, self.worker.clone()) {
            (Stage::Due, _) => Step::Send(now),
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
        self.resend(now, now)
    }

    fn resend(&mut self, now: Instant, at: Instant) -> Step {
        self.resends += 1;
        (self.unknowns, self.silences) = (0, 0);
        self.enter(Stage::Due, now);
        Step::Send(at)
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
            | Word::Failed { worker, .. } => self.worker = Some(worker.clone()),
            Word::Answer | Word::Running | Word::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_secs(10);

    /// A call on a clock that is turned by hand.
    struct Story {
        call: Call,
        begun: Instant,
        now: Instant,
    }

    impl Story {
        fn new(is_idempotent: bool) -> Self {
            let now = Instant::now();
            let mut call = Call::new(Times::default(), now, BUDGET, is_idempotent);
            assert_eq!(call.on(now, Input::Tick), Step::Send(now));
            call.sent(now);
            Self { call, begun: now, now }
        }

        fn comes(&mut self, input: Input) -> Step {
            self.call.on(self.now, input)
        }

        fn accepted(&mut self) {
            self.comes(Input::Word(accepted()));
        }

        /// Lets time go by until something is done, and tells what and when. Messages sent meanwhile are lost.
        fn silence(&mut self) -> (Step, u128) {
            let mut step = self.comes(Input::Tick);
            for _ in 0..1000 {
                match step {
                    Step::Wait(until) | Step::Probe(_, until) => self.now = until,
                    Step::Send(at) => {
                        self.now = at;
                        self.call.sent(at);
                    }
                    Step::Done(_) => {
                        return (step, self.now.duration_since(self.begun).as_millis());
                    }
                }
                step = self.comes(Input::Tick);
            }
            panic!("it never ends: {:?}", self.call)
        }
    }

    fn accepted() -> Word {
        Word::Accepted { worker: "w".into(), at: 1 }
    }

    fn busy() -> Input {
        Input::Word(Word::Busy { worker: "w".into() })
    }

    #[test]
    fn nobody_accepts_and_the_client_is_told_long_before_the_deadline() {
        let (step, took) = Story::new(false).silence();
        assert_eq!((step, took), (Step::Done(Outcome::NotAccepted), 350));
    }

    #[test]
    fn a_call_that_may_run_twice_is_sent_three_times_more_into_the_silence() {
        let mut story = Story::new(true);
        let (step, took) = story.silence();
        assert_eq!((step, took), (Step::Done(Outcome::NotAccepted), 4 * 350));
        assert_eq!(story.call.resends, 3);
    }

    #[test]
    fn a_stopped_worker_is_told_after_half_a_second_and_never_sent_again() {
        for is_idempotent in [false, true] {
            let mut story = Story::new(is_idempotent);
            story.accepted();
            let (step, took) = story.silence();
            assert_eq!((step, took), (Step::Done(Outcome::Silent), 100 + 3 * 130));
        }
    }

    #[test]
    fn a_dead_worker_is_told_with_the_first_probe() {
        let mut story = Story::new(false);
        story.accepted();
        story.now += Duration::from_millis(100);
        assert!(matches!(story.comes(Input::Tick), Step::Probe(worker, _) if worker == "w"));
        assert_eq!(story.comes(Input::WorkerGone), Step::Done(Outcome::Lost));
    }

    #[test]
    fn a_worker_that_does_not_know_the_call_is_asked_once_more() {
        let mut story = Story::new(false);
        story.accepted();
        for nth in 1..=2 {
            story.now += Duration::from_millis(100);
            assert!(matches!(story.comes(Input::Tick), Step::Probe(..)), "{nth}");
            let step = story.comes(Input::Word(Word::Unknown));
            match nth {
                1 => assert!(matches!(step, Step::Wait(_))),
                _ => assert_eq!(step, Step::Done(Outcome::Lost)),
            }
        }
    }

    #[test]
    fn a_long_call_is_asked_after_less_and_less_often_and_ends_at_the_deadline() {
        let mut story = Story::new(false);
        story.accepted();
        let mut probes = 0;
        let outcome = loop {
            match story.comes(Input::Tick) {
                Step::Wait(until) => story.now = until,
                Step::Probe(..) => {
                    probes += 1;
                    assert!(matches!(story.comes(Input::Word(Word::Running)), Step::Wait(_)));
                }
                Step::Done(outcome) => break outcome,
                Step::Send(_) => panic!("sent again"),
            }
        };
        assert_eq!(outcome, Outcome::Deadline);
        assert_eq!(story.now, story.begun + BUDGET);
        assert!((8..40).contains(&probes), "{probes}");
    }

    #[test]
    fn words_of_workers_that_have_not_run_it_send_it_again_three_times() {
        for (input, outcome) in [
            (busy(), Outcome::Busy),
            (Input::Word(Word::Late { worker: "w".into(), at: 1 }), Outcome::Late),
            (Input::Word(Word::Stopping { worker: "w".into() }), Outcome::Stopping),
        ] {
            let mut story = Story::new(false);
            for _ in 0..3 {
                let Step::Send(at) = story.comes(input.clone()) else { panic!("{outcome:?}") };
                story.now = at;
                story.call.sent(at);
            }
            assert_eq!(story.comes(input), Step::Done(outcome));
        }
    }

    #[test]
    fn without_a_worker_it_is_sent_once_more_and_told_at_once() {
        let mut story = Story::new(false);
        assert_eq!(story.comes(Input::NoWorker), Step::Send(story.now));
        story.call.sent(story.now);
        assert_eq!(story.comes(Input::NoWorker), Step::Done(Outcome::NoWorker));
    }

    #[test]
    fn all_busy_takes_a_fifth_of_the_time_at_most() {
        let mut story = Story::new(false);
        story.now += BUDGET / 5;
        assert_eq!(story.comes(busy()), Step::Done(Outcome::Busy));
    }

    #[test]
    fn a_lost_connection_is_told_at_once_and_sends_again_only_what_may_run_twice() {
        for is_accepted in [false, true] {
            for is_idempotent in [false, true] {
                let mut story = Story::new(is_idempotent);
                if is_accepted {
                    story.accepted();
                }
                let now = story.now;
                let expected = if is_idempotent {
                    Step::Send(now)
                } else {
                    Step::Done(Outcome::ConnectionLost)
                };
                assert_eq!(story.comes(Input::LinkLost), expected);
            }
        }
    }

    /// A worker that has said `accepted` and then says `busy`, `late` or `stopping` is wrong or hostile:
    /// to believe it would run the call twice.
    #[test]
    fn after_accepted_no_word_sends_a_call_again() {
        for input in [
            busy(),
            Input::NoWorker,
            Input::Word(Word::Late { worker: "w".into(), at: 1 }),
            Input::Word(Word::Stopping { worker: "w".into() }),
            Input::Word(accepted()),
        ] {
            let mut story = Story::new(true);
            story.accepted();
            let step = story.comes(input.clone());
            assert!(matches!(step, Step::Wait(_)), "{input:?}: {step:?}");
        }
    }

    /// Every order of every input, with time passing between: it ends by its deadline, and without leave to
    /// run twice it is sent again only behind a word that says that it has not run.
    #[test]
    fn no_story_sends_twice_what_may_have_run() {
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut story = Story::new(false);
            let mut is_accepted = false;
            let mut told = false;
            for _ in 0..200 {
                let worker = || "w".to_owned();
                let input = match random.u8(0..10) {
                    0 => Input::Word(accepted()),
                    1 => busy(),
                    2 => Input::Word(Word::Late { worker: worker(), at: 1 }),
                    3 => Input::Word(Word::Stopping { worker: worker() }),
                    4 => Input::NoWorker,
                    5 => Input::Word(Word::Running),
                    6 => Input::Word(Word::Unknown),
                    7 if random.u8(0..20) == 0 => Input::WorkerGone,
                    _ => {
                        story.now += Duration::from_millis(random.u64(0..200));
                        Input::Tick
                    }
                };
                let has_not_run = matches!(
                    input,
                    Input::NoWorker
                        | Input::Word(
                            Word::Busy { .. } | Word::Late { .. } | Word::Stopping { .. }
                        )
                );
                let is_word_of_start = matches!(input, Input::Word(Word::Accepted { .. }));
                match story.comes(input.clone()) {
                    Step::Send(at) => {
                        assert!(has_not_run && !is_accepted, "seed {seed}: {input:?}");
                        story.now = at;
                        story.call.sent(at);
                    }
                    Step::Done(_) => {
                        told = true;
                        break;
                    }
                    Step::Wait(until) | Step::Probe(_, until) => {
                        assert!(until <= story.begun + BUDGET, "seed {seed}");
                        is_accepted |= is_word_of_start;
                    }
                }
            }
            let (_, took) = if told { (Step::Done(Outcome::Busy), 0) } else { story.silence() };
            assert!(took <= BUDGET.as_millis(), "seed {seed}: {took}");
        }
    }
}
