//! Which seeds of kept connections are run.

use super::plan::Plan;
use super::{oracle, run, story};
use crate::sim::seeds::{Lived, every_seed};

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
        let unobserved = || lived(Plan { is_observed: false, ..Plan::draw(seed) });
        lived(Plan::draw(seed)).and_unobserved(seed, unobserved)
    };
    every_seed("sim::kept", oracle::ENDINGS, world);
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    for seed in 0..100 {
        let tell = || story::tell(&run(Plan::draw(seed)));
        assert_eq!(tell(), tell(), "seed {seed}");
    }
}
