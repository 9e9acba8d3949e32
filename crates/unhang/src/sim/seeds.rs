//! Which seeds are run, and what a seed that fails is told with.

use std::collections::BTreeMap;
use std::env;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::plan::{Observer, Plan};
use super::unobserved::{self, Seen, is_drawn};
use super::{oracle, run, story};

/// A world that has lived once more.
const UNOBSERVED: &str = "without an observer";

/// An ordinary run takes the same seeds every time: it fails only for a reason.
const SEEDS: u64 = 10_000;

#[test]
fn every_seed_keeps_the_promise() {
    let lived = |plan| {
        let world = run(plan);
        let violations = world.violations.lock().unwrap().clone();
        let endings = world.endings.lock().unwrap().clone();
        let seen = world.seen();
        Lived { violations, endings, seen, story: Box::new(move || story::tell(&world)) }
    };
    let world = |seed| {
        let unobserved = || lived(Plan { observer: Observer::Missing, ..Plan::draw(seed) });
        lived(Plan::draw(seed)).and_unobserved(seed, unobserved)
    };
    every_seed("sim::seeds", oracle::ENDINGS, world);
}

/// Otherwise a seed that failed once could not be looked into.
#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in 0..100 {
        let tell = || story::tell(&run(Plan::draw(seed)));
        assert_eq!(tell(), tell(), "seed {seed}");
    }
}

/// A world that has come to its end.
pub(super) struct Lived {
    pub(super) violations: Vec<String>,
    pub(super) endings: BTreeMap<String, usize>,
    /// By client, once it was connected.
    pub(super) seen: Vec<Option<Seen>>,
    pub(super) story: Box<dyn Fn() -> String>,
}

impl Lived {
    /// Has the world live once more without an observer, if its seed says so, and compares the two.
    pub(super) fn and_unobserved(mut self, seed: u64, without: impl FnOnce() -> Self) -> Self {
        if !is_drawn(seed) {
            return self;
        }
        let without = without();
        *self.endings.entry(UNOBSERVED.into()).or_default() += 1;
        self.violations.extend(without.violations);
        self.violations.extend(unobserved::differences(&self.seen, &without.seen));
        let with = self.story;
        let story = move || format!("{}\nand without an observer:\n{}", with(), (without.story)());
        Self { story: Box::new(story), ..self }
    }
}

/// Has each seed that is asked for live, and demands that none breaks the promise and that every ending
/// comes about. `what` is the filter that runs this test alone.
pub(super) fn every_seed(what: &str, must_end: &[&str], world: impl Fn(u64) -> Lived + Sync) {
    if let Ok(seed) = env::var("UNHANG_SEED") {
        let seed = seed.parse().expect("UNHANG_SEED is a number");
        let lived = world(seed);
        println!("{}", (lived.story)());
        return demand_no_violation(what, seed, &lived);
    }
    let begun = Instant::now();
    let (first, most, time) = asked_for();
    let next = AtomicU64::new(0);
    let live = || {
        let mut endings = BTreeMap::new();
        while begun.elapsed() < time {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= most {
                break;
            }
            let lived = world(first + seed);
            demand_no_violation(what, first + seed, &lived);
            for (ending, times) in lived.endings {
                *endings.entry(ending).or_insert(0) += times;
            }
        }
        endings
    };
    let mut endings = BTreeMap::new();
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(live)).collect();
        for thread in threads {
            for (ending, times) in thread.join().expect("a seed is told above") {
                *endings.entry(ending).or_insert(0) += times;
            }
        }
    });
    let count = next.into_inner().min(most);
    println!("{count} seeds from {first} in {:?}: {endings:#?}", begun.elapsed());
    // A case that never comes about is not tested.
    if count >= SEEDS {
        for ending in must_end.iter().chain([&UNOBSERVED]) {
            assert!(endings.contains_key(*ending), "no seed ends with {ending}");
        }
    }
}

/// The first seed, how many there are, and how long they may take.
fn asked_for() -> (u64, u64, Duration) {
    if let Ok(time) = env::var("UNHANG_FOR") {
        let seconds = time.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
        let seconds = seconds.expect("UNHANG_FOR is so many seconds, like 60s");
        return (fastrand::u64(..1 << 60), u64::MAX, Duration::from_secs(seconds));
    }
    let seeds = env::var("UNHANG_SEEDS").map(|seeds| seeds.parse().expect("a number of seeds"));
    (0, seeds.unwrap_or(SEEDS), Duration::MAX)
}

fn demand_no_violation(what: &str, seed: u64, lived: &Lived) {
    let Lived { violations, story, .. } = lived;
    assert!(
        violations.is_empty(),
        "{}\nseed {seed} breaks the promise: {violations:#?}\n\
         again: UNHANG_SEED={seed} cargo test -p unhang --lib {what} -- --nocapture",
        story()
    );
}
