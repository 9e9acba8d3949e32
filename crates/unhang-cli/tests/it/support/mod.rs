//! What the tests share.

pub(crate) mod daemon;
pub(crate) mod hang;
pub(crate) mod passing;
pub(crate) mod peer;
pub(crate) mod programs;
pub(crate) mod spoken;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// No test waits longer for anything: generous, as machines are slow and shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The command under test.
pub(crate) const UNHANG: &str = env!("CARGO_BIN_EXE_unhang");

/// A directory of the test's own, and a name for a socket in it.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) socket: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("s");
        Self { directory, socket }
    }
}

/// Waits until `done` gives something. For states that the kernel shows but tells nobody about.
pub(crate) fn await_some<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
