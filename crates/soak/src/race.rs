//! The start race: many servers start at once on a stale file, and exactly one of them serves.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::target::{Target, answers};

const STARTERS: usize = 8;
const LONGEST: Duration = Duration::from_secs(30);

/// One race. What went wrong, if something did.
pub(crate) fn run(target: &Target) -> io::Result<Option<String>> {
    let path = target.path.with_extension("race");
    if !path.exists() {
        drop(UnixListener::bind(&path)?);
    }
    let mut starters = Vec::new();
    for _ in 0..STARTERS {
        let mut command = target.command(&path, false)?;
        starters.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    }
    let begun = Instant::now();
    while starters.len() > 1 && begun.elapsed() < LONGEST {
        starters.retain_mut(|starter| matches!(starter.try_wait(), Ok(None)));
        sleep(Duration::from_millis(2));
    }
    // The others give up as soon as one has the lock, which then still has to listen.
    while UnixStream::connect(&path).is_err() && begun.elapsed() < LONGEST {
        sleep(Duration::from_millis(2));
    }
    let left = starters.len();
    let trouble = match left {
        1 if answers(&path) => None,
        1 => Some("who is left does not answer".to_owned()),
        _ => Some(format!("{left} of {STARTERS} starters are left")),
    };
    // Its file stays, stale, for the next race.
    starters.iter_mut().for_each(end);
    Ok(trouble)
}

fn end(starter: &mut Child) {
    // Both fail only if it has ended already.
    let _ = starter.kill();
    let _ = starter.wait();
}
