//! The command line and the environment that a program gets.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use super::check::{self, CannotRun};
use crate::Peer;

/// Variables that are for unhang alone. A program that told systemd READY, or kept its watchdog content, would
/// do so in our name; one that took the passed socket would serve our clients.
const OURS: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// A program and its arguments, found and checked: a shell is not involved.
///
/// ```
/// # fn main() -> Result<(), unhang::backend::CannotRun> {
/// let command = unhang::backend::Command::new("tr", ["a-z", "A-Z"])?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Command {
    /// As it was named: the program sees it as its own name.
    name: OsString,
    file: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

impl Command {
    /// Looks the program up in `PATH`, once, unless its name has a slash; and checks that it can be
    /// run.
    pub fn new<A: Into<OsString>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, CannotRun> {
        let name = program.as_ref();
        Ok(Self {
            name: name.to_owned(),
            file: check::find(name)?,
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        })
    }

    /// The file that is run.
    pub fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// Adds what each start has in its environment: the socket's path, under the name that
    /// ucspi-unix gave it.
    pub(super) fn serving(&mut self, socket: OsString) {
        self.environment.push(("UNIXLOCALPATH", socket));
    }

    /// Adds what only a program that lives on needs.
    #[cfg(feature = "workers")]
    pub(super) fn living_on(&mut self) {
        // Python would keep its replies in a buffer until that is full.
        if std::env::var_os("PYTHONUNBUFFERED").is_none() {
            self.environment.push(("PYTHONUNBUFFERED", "1".into()));
        }
    }

    /// The process to start: three pipes, a process group of its own. No `pre_exec`: with one, std
    /// would fork, which takes 70 ms from a parent of 1 GiB, and `posix_spawn` takes 0.3 ms.
    pub(super) fn process(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.file);
        command.arg0(&self.name).args(&self.arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // So that Ctrl-C reaches unhang alone, which then finishes what is under way; and so that a
        // kill reaches the children of the program, too.
        command.process_group(0);
        for name in OURS {
            command.env_remove(name);
        }
        command.env("PROTO", "UNIX");
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }

    /// Checks again: for the reason why a start failed.
    pub(super) fn check(&self) -> Result<(), CannotRun> {
        check::check(&self.file)
    }
}

/// Tells a program about its one client, under the names that ucspi-unix gave these.
pub(super) fn tell_client(
    command: &mut tokio::process::Command,
    peer: Option<Peer>,
    deadline: Duration,
) {
    let ids = [
        ("UNIXREMOTEPID", peer.map(|peer| peer.pid)),
        ("UNIXREMOTEEUID", peer.map(|peer| peer.uid)),
        ("UNIXREMOTEEGID", peer.map(|peer| peer.gid)),
    ];
    for (name, id) in ids {
        match id {
            Some(id) => command.env(name, id.to_string()),
            // One that we have inherited is about another client.
            None => command.env_remove(name),
        };
    }
    command.env("UNHANG_DEADLINE_MS", deadline.as_millis().to_string());
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name.to_string_lossy())?;
        for argument in &self.arguments {
            write!(f, " {}", argument.to_string_lossy())?;
        }
        Ok(())
    }
}
