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
                Step::Seek(at) => {
                    self.now = at;
                    self.call.sought(at);
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

/// Regression: it was told "it did not run" of its second sending, though the first may have run.
#[test]
fn a_call_that_may_run_twice_seeks_a_free_worker_and_is_told_that_it_may_have_run() {
    let mut story = Story::new(true);
    let (step, took) = story.silence();
    assert_eq!((step, took), (Step::Done(Outcome::NotAccepted), 350 + 1000));
    assert_eq!((story.call.resends, story.call.unanswered), (1, 20));

    let mut story = Story::new(true);
    assert_eq!(story.comes(Input::LinkLost), Step::Seek(story.now));
    story.call.sought(story.now);
    let told = story.comes(Input::NoWorker);
    assert_eq!(told, Step::Done(Outcome::ConnectionLost));
}

fn free(direct: &str) -> Input {
    Input::Word(Word::Free { worker: "f".into(), direct: direct.into() })
}

fn wary() -> Story {
    let now = Instant::now();
    let mut call = Call::new(Times::default(), now, BUDGET, false).wary();
    assert_eq!(call.on(now, Input::Tick), Step::Seek(now));
    call.sought(now);
    Story { call, begun: now, now }
}

#[test]
fn a_wary_call_asks_until_a_worker_is_free_and_is_sent_to_that_one() {
    let mut story = wary();
    for nth in 1..=5_u32 {
        story.now += Duration::from_millis(50);
        assert_eq!(story.comes(Input::Tick), Step::Seek(story.now));
        assert_eq!(story.call.unanswered, nth);
        story.call.sought(story.now);
    }
    assert_eq!(story.comes(free("f-2")), Step::Send(story.now));
    assert_eq!(story.call.chosen(), Some("f-2"));
    story.call.sent(story.now);
    // A second worker that is free comes too late: the call is with the first.
    assert!(matches!(story.comes(free("f-1")), Step::Wait(_)));
    assert_eq!(story.call.chosen(), Some("f-2"));
    assert_eq!(story.comes(Input::Word(Word::Answer)), Step::Done(Outcome::Answered));
}

#[test]
fn a_wary_call_that_finds_nobody_has_not_run() {
    let (step, took) = wary().silence();
    assert_eq!((step, took), (Step::Done(Outcome::NotOffered), 1000));
}

/// Its worker may have it, so no other is sought.
#[test]
fn a_wary_call_whose_worker_says_nothing_is_not_sent_again() {
    let mut story = wary();
    story.comes(free("f-1"));
    let (step, took) = story.silence();
    assert_eq!((step, took), (Step::Done(Outcome::NotAccepted), 350));
}

#[test]
fn a_wary_call_whose_worker_has_gone_or_is_busy_by_now_seeks_another() {
    for input in [Input::NoWorker, busy(), Input::Word(Word::Stopping { worker: "f".into() })] {
        let mut story = wary();
        story.comes(free("f-1"));
        story.call.sent(story.now);
        assert!(matches!(story.comes(input), Step::Seek(_)));
        assert_eq!(story.call.chosen(), None);
    }
}

/// A call that was not sent has no answer: to believe one would let any worker answer for another.
#[test]
fn no_answer_is_believed_before_the_call_was_sent() {
    let mut story = wary();
    assert!(matches!(story.comes(Input::Word(Word::Answer)), Step::Wait(_)));
    let failed = Word::Failed { worker: "f".into(), code: "x".into() };
    assert!(matches!(story.comes(Input::Word(failed)), Step::Wait(_)));
    assert_eq!(story.comes(free("f-1")), Step::Send(story.now));
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
            Step::Send(_) | Step::Seek(_) => panic!("sent again"),
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
            let expected =
                if is_idempotent { Step::Seek(now) } else { Step::Done(Outcome::ConnectionLost) };
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
        let is_wary = seed % 2 == 0;
        let mut story = if is_wary { wary() } else { Story::new(false) };
        let mut is_accepted = false;
        // Until it is sent, nothing can have run.
        let mut is_sent = !is_wary;
        let mut told = false;
        for _ in 0..200 {
            let worker = || "w".to_owned();
            let input = match random.u8(0..12) {
                0 => Input::Word(accepted()),
                1 => busy(),
                2 => Input::Word(Word::Late { worker: worker(), at: 1 }),
                3 => Input::Word(Word::Stopping { worker: worker() }),
                4 => Input::NoWorker,
                5 => Input::Word(Word::Running),
                6 => Input::Word(Word::Unknown),
                10 => free("f-1"),
                11 if random.u8(0..20) == 0 => Input::LinkLost,
                7 if random.u8(0..20) == 0 => Input::WorkerGone,
                _ => {
                    story.now += Duration::from_millis(random.u64(0..200));
                    Input::Tick
                }
            };
            let has_not_run = matches!(
                input,
                Input::NoWorker
                    | Input::Word(Word::Busy { .. } | Word::Late { .. } | Word::Stopping { .. })
            );
            let is_word_of_start = matches!(input, Input::Word(Word::Accepted { .. }));
            match story.comes(input.clone()) {
                Step::Send(at) => {
                    assert!(!is_sent || has_not_run && !is_accepted, "seed {seed}: {input:?}");
                    is_sent = true;
                    story.now = at;
                    story.call.sent(at);
                }
                Step::Seek(at) => {
                    assert!(!is_sent || has_not_run && !is_accepted, "seed {seed}: {input:?}");
                    is_sent = false;
                    story.now = at;
                    story.call.sought(at);
                }
                Step::Done(_) => {
                    told = true;
                    break;
                }
                Step::Wait(until) | Step::Probe(_, until) => {
                    assert!(until <= story.begun + BUDGET, "seed {seed}");
                    is_accepted |= is_word_of_start && is_sent;
                }
            }
        }
        let (_, took) = if told { (Step::Done(Outcome::Busy), 0) } else { story.silence() };
        assert!(took <= BUDGET.as_millis(), "seed {seed}: {took}");
    }
}
