//! Runs the fuzz targets if there is no cargo-fuzz: their seeds, and then what a seeded random
//! number generator makes of them, for a bounded time. It is not led by coverage, as cargo-fuzz is.

mod mutate;
mod watch;

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

use mutate::Mutator;
use unhang_fuzz::{TARGETS, Target};
use watch::Watch;

const USAGE: &str = "\
Usage: unhang-fuzz TARGET SECONDS [SEED]   its seeds, then mutations of them for so long
       unhang-fuzz TARGET FILE…            only these inputs
       unhang-fuzz                         the targets' names";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        TARGETS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let target = TARGETS.iter().find(|(target, _)| target == name);
    let seconds = rest.first().and_then(|seconds| seconds.parse().ok());
    let seed = rest.get(1).map_or(Ok(0), |seed| seed.parse());
    let held = match (target, seconds, seed) {
        (Some(&target), Some(seconds), Ok(seed)) => {
            fuzz(target, Duration::from_secs(seconds), seed)
        }
        (Some(&target), None, _) if !rest.is_empty() => replay(target, rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay((name, target): Target, files: &[String]) -> bool {
    let watch = Watch::start(name);
    files.iter().all(|file| match fs::read(file) {
        Ok(input) => holds(target, &watch, &input),
        Err(error) => {
            eprintln!("{file}: {error}");
            false
        }
    })
}

fn fuzz((name, target): Target, within: Duration, seed: u64) -> bool {
    let seeds = seeds(name);
    let watch = Watch::start(name);
    let begun = Instant::now();
    let mut mutator = Mutator::new(seed, &seeds);
    let mut tried = 0_u64;
    let mut next = seeds.iter().cloned();
    loop {
        let input = next.next().unwrap_or_else(|| mutator.input());
        if !holds(target, &watch, &input) {
            eprintln!("{name}: seed {seed}, input {tried}");
            return false;
        }
        tried += 1;
        let elapsed = begun.elapsed();
        if elapsed >= within && tried as usize >= seeds.len() {
            let each = tried as f64 / elapsed.as_secs_f64();
            println!("{name:<10} {} seeds, {tried} inputs, {each:.0}/s", seeds.len());
            return true;
        }
    }
}

/// The committed ones, in an order that is always the same.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| fs::read(file).ok()).collect()
}

/// Keeps the input if it does not.
fn holds(target: fn(&[u8]), watch: &Watch, input: &[u8]) -> bool {
    let held = watch.during(input, || catch_unwind(|| target(input)).is_ok());
    if !held {
        watch.keep("crash", input);
    }
    held
}
