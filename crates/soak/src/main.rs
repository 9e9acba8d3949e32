//! The soak: real servers, many clients, good and bad, and faults; and at the end a table in which
//! some figures must be 0. `script/soak` builds and runs it.

mod behaviours;
mod behind;
mod clients;
mod exchange;
mod faults;
mod machine;
mod passing;
mod pressure;
mod race;
mod service;
mod table;
mod tally;
mod target;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use fastrand::Rng;
use jiff::SignedDuration;

use behind::{Load, Span};
use faults::Faults;
use tally::{Tally, Trouble};
use target::{Kind, Target};

/// Serves under load and faults, and counts what must not be
#[derive(Parser)]
#[command(name = "soak", subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
struct Soak {
    /// For how long; the last clients and servers may take half a minute more
    #[arg(long = "for", value_name = "DURATION", default_value = "1m")]
    length: SignedDuration,
    /// Decides the faults and what each client does, but not when the machine runs which of them
    #[arg(long)]
    seed: Option<u64>,
    /// Clients of each of the two servers
    #[arg(long, default_value_t = 48)]
    clients: usize,
    /// The command under test
    #[arg(long, value_name = "PATH", required = true)]
    unhang: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What the soak starts itself as.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Serve {
        path: PathBuf,
        #[arg(long)]
        replace: bool,
    },
    #[command(hide = true)]
    Ask { path: PathBuf, kind: String, seed: u64 },
    #[command(hide = true)]
    Answer,
    /// Only programs, workers and a server behind: so many exchanges in all, with a fault in a hundred
    Behind {
        #[arg(long, default_value_t = 1_000_000)]
        exchanges: u64,
        #[arg(long)]
        seed: Option<u64>,
        #[arg(long, value_name = "PATH")]
        unhang: PathBuf,
    },
}

fn main() -> ExitCode {
    let soak = Soak::parse();
    let done = match &soak.part {
        None => run(&soak).map_err(|error| error.to_string()),
        Some(Part::Serve { path, replace }) => service::run(path, *replace).map(|()| true),
        Some(Part::Ask { path, kind, seed }) => {
            clients::ask(path, if kind == "echo" { Kind::Echo } else { Kind::Serve }, *seed);
            Ok(true)
        }
        Some(Part::Answer) => behind::answer().map_err(|error| error.to_string()),
        Some(Part::Behind { exchanges, seed, unhang }) => {
            run_behind(*exchanges, *seed, unhang).map_err(|error| error.to_string())
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Between two looks at whether all is over.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether everything was as it must be.
fn run(soak: &Soak) -> io::Result<bool> {
    let length = Duration::try_from(soak.length).map_err(io::Error::other)?;
    let seed = soak.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}, for {length:?}, {} clients", 2 * soak.clients);
    let mut rng = Rng::with_seed(seed);
    let directory = tempfile::TempDir::with_prefix("unhang-soak-")?;
    let unhang = soak.unhang.clone().unwrap_or_default();
    let targets =
        [Kind::Echo, Kind::Serve].map(|kind| Target::new(kind, directory.path(), &unhang));
    let (tally, done) = (Tally::default(), Arc::new(AtomicBool::new(false)));
    end_when_told(Arc::clone(&done))?;

    let (begun, before) = (Instant::now(), machine::times());
    std::thread::scope(|scope| {
        let mut all = Vec::new();
        for target in &targets {
            let (tally, done, rng) = (&tally, &*done, &mut rng);
            for number in 0..soak.clients {
                let rng = rng.fork();
                scope.spawn(move || clients::run(target, tally, rng, number % 2 == 0, done));
            }
            let rng = rng.fork();
            all.push(scope.spawn(move || {
                let driven = Faults::begin(target, tally, rng, done)
                    .and_then(|faults| faults.run(begun + length));
                if let Err(error) = driven {
                    tally.trouble(Trouble::Server, 1, &format!("{:?}: {error}", target.kind));
                    done.store(true, Relaxed);
                }
            }));
        }
        let (unhang, directory, rng) = (&*unhang, directory.path(), &mut rng.fork());
        let (tally, done) = (&tally, &*done);
        all.push(scope.spawn({
            let mut rng = rng.fork();
            move || {
                let load = Load { clients: 6, span: Span::Until(begun + length), done };
                let asked = behind::run(directory, unhang, tally, &mut rng, &load);
                if let Err(error) = asked {
                    tally.trouble(Trouble::Server, 1, &error.to_string());
                }
            }
        }));
        let mut told = begun;
        while all.iter().any(|driver| !driver.is_finished()) {
            let slept = Instant::now();
            std::thread::sleep(PAUSE);
            tally.overslept(slept.elapsed().saturating_sub(PAUSE));
            if told.elapsed() >= Duration::from_secs(10) {
                told = Instant::now();
                table::line(begun.elapsed(), tally);
            }
        }
        done.store(true, Relaxed);
    });
    tally.figures().stolen = machine::stolen(before, machine::times());
    Ok(table::print(begun.elapsed(), seed, &tally))
}

/// Of each kind a third. Whether each client had its own reply, or was told.
fn run_behind(exchanges: u64, seed: Option<u64>, unhang: &Path) -> io::Result<bool> {
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}, {exchanges} exchanges with programs, workers and a server behind");
    let (mut rng, begun) = (Rng::with_seed(seed), Instant::now());
    let directory = tempfile::TempDir::with_prefix("unhang-soak-")?;
    let (tally, done) = (Tally::default(), Arc::new(AtomicBool::new(false)));
    end_when_told(Arc::clone(&done))?;
    std::thread::scope(|scope| {
        let load = Load { clients: 16, span: Span::Exchanges(exchanges.div_ceil(3)), done: &done };
        let (tally, directory) = (&tally, directory.path());
        let run = scope.spawn(move || behind::run(directory, unhang, tally, &mut rng, &load));
        let mut told = begun;
        while !run.is_finished() {
            std::thread::sleep(PAUSE);
            if told.elapsed() >= Duration::from_secs(10) {
                told = Instant::now();
                table::line(begun.elapsed(), tally);
            }
        }
        run.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
    })?;
    Ok(table::print(begun.elapsed(), seed, &tally))
}

/// Ctrl-C and SIGTERM end it in good order, with what has been seen until then.
fn end_when_told(done: Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async { unhang::termination().await });
        done.store(true, Relaxed);
    });
    Ok(())
}
