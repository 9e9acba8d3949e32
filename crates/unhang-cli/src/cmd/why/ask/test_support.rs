//! What the runtimes' tests share.

use std::fmt::Debug;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::memory::Bytes;

/// No test waits longer for anything: generous, as machines are slow and shared.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that is ended with the test, and with it those that it has started.
pub(crate) struct Ended(Child);

impl Ended {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.process_group(0).spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its standard output, if that is piped.
    pub(crate) fn output(&mut self) -> ChildStdout {
        self.0.stdout.take().unwrap()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Waits until `look` succeeds. For states that nobody announces.
pub(crate) fn await_ok<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(error) if started.elapsed() > PATIENCE => {
                panic!("waited in vain until {what}: {error:?}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Looks for a program in the path. Where it is missing, the test is skipped with a word, unless
/// the environment has `UNHANG_REQUIRE_ALL=1`.
pub(crate) fn required(program: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(program)).find(|p| p.exists());
    if found.is_none() {
        let all = std::env::var("UNHANG_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!all, "{program} is missing; Debian's package is {package}");
        eprintln!("skipped: {program} is missing; Debian's package is {package}");
    }
    found
}

/// Memory that is made up, at the addresses that it is given.
pub(super) struct Pieces(pub(super) Vec<(u64, Vec<u8>)>);

impl Bytes for Pieces {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let piece = self.0.iter().find_map(|(start, bytes)| {
            let offset = usize::try_from(at.checked_sub(*start)?).ok()?;
            bytes.get(offset..).filter(|rest| !rest.is_empty())
        });
        let piece = piece.ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = piece.len().min(into.len());
        into[..length].copy_from_slice(&piece[..length]);
        Ok(length)
    }
}

/// As they lie in memory.
pub(super) fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
