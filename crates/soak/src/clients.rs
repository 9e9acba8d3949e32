//! The clients: threads that are judged, and processes that are killed.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use fastrand::Rng;

use crate::behaviours::{BAD, Behaviour, GOOD, PLAIN, RUDE};
use crate::exchange::Exchange;
use crate::tally::{Tally, Trouble};
use crate::target::{Kind, Target};

/// Some clients are always good, so that the others' waiting does not make the load a trickle.
fn behaviour(kind: Kind, good: bool, rng: &mut Rng) -> &'static Behaviour {
    let (well, badly) = match kind {
        Kind::Echo => (GOOD, BAD),
        Kind::Serve => (PLAIN, RUDE),
    };
    let behaviours = if good || rng.bool() { well } else { badly };
    &behaviours[rng.usize(..behaviours.len())]
}

/// One client after the other, until all is done.
pub(crate) fn run(target: &Target, tally: &Tally, mut rng: Rng, good: bool, done: &AtomicBool) {
    while !done.load(Relaxed) {
        if !target.enter() {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        one(target, tally, &mut rng, good);
        target.leave();
        std::thread::sleep(Duration::from_millis(rng.u64(0..20)));
    }
}

/// A good one, or one that may be good.
pub(crate) fn one(target: &Target, tally: &Tally, rng: &mut Rng, good: bool) {
    let before = target.moment();
    let behaviour = behaviour(target.kind, good, rng);
    let mut it = match Exchange::connect(&target.path) {
        Ok(it) => it,
        Err(_) if before.may_refuse(target.moment()) => {
            tally.figures().refused_in_restart += 1;
            return;
        }
        Err(error) => {
            let what = format!("{}: cannot connect: {error}", behaviour.name);
            return tally.trouble(Trouble::Lost, 1, &what);
        }
    };
    let outcome = (behaviour.play)(&mut it, rng);
    tally.exchange(behaviour.name, &it, &outcome, (before, target.moment()));
}

/// A client process, to be killed in the middle of whatever it does.
pub(crate) fn spawn(target: &Target, seed: u64) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let kind = if target.kind == Kind::Echo { "echo" } else { "serve" };
    command.arg("ask").arg(&target.path).args([kind, &seed.to_string()]);
    command.stdin(Stdio::null()).spawn()
}

/// What such a process does, until it is killed; or for a while, if nobody is left to kill it.
pub(crate) fn ask(path: &Path, kind: Kind, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    for _ in 0..1000 {
        if let Ok(mut it) = Exchange::connect(path) {
            (behaviour(kind, false, &mut rng).play)(&mut it, &mut rng);
        }
        std::thread::sleep(Duration::from_millis(rng.u64(0..20)));
    }
}
