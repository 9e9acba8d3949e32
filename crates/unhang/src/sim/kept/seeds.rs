//! Which seeds of kept connections are run.

use super::plan::Plan;
use super::{oracle, run, story};
use crate::sim::seeds::{Lived, every_seed};

#[test]
fn every_seed_keeps_the_promise() {
    let world = |seed| {
        let world = run(Plan::draw(seed));
        let violations = world.violations.lock().unwrap().clone();
        let endings = world.endings.lock().unwrap().clone();
        Lived { violations, endings, story: Box::new(move || story::tell(&world)) }
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
