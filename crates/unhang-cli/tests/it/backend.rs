//! Any program is the service: a process per request, workers, a front.

mod counters;
mod forward;
mod http;
mod program;
mod start;
mod templates;
mod workers;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::support::daemon::Daemon;
use crate::support::peer::Peer;
use crate::support::{Place, UNHANG, await_some};

/// `unhang serve` in front of something, and where.
pub(crate) struct Served {
    pub(crate) daemon: Daemon,
    pub(crate) place: Place,
}

impl Served {
    /// Serves with these flags; behind `--` the program.
    pub(crate) fn with<A: AsRef<OsStr>>(arguments: &[A]) -> Self {
        Self::at(Place::new(), arguments)
    }

    pub(crate) fn at<A: AsRef<OsStr>>(place: Place, arguments: &[A]) -> Self {
        let daemon = Daemon::start(&mut serve(&place, arguments), "listening");
        Self { daemon, place }
    }

    /// A script of the shell that answers each request.
    pub(crate) fn sh(flags: &[&str], script: &str) -> Self {
        Self::with(&[flags, &["--", "sh", "-c", script]].concat())
    }

    pub(crate) fn bash(flags: &[&str], script: &str) -> Self {
        Self::with(&[flags, &["--", "bash", "-c", script]].concat())
    }

    /// What is answered to this request.
    pub(crate) fn ask(&self, request: &[u8]) -> Vec<u8> {
        Peer::ask(&self.place.socket, request)
    }

    /// The same as text.
    pub(crate) fn text(&self, request: &str) -> String {
        String::from_utf8(self.ask(request.as_bytes())).unwrap()
    }

    /// Its children that still run, by process id.
    pub(crate) fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{}/task", self.daemon.pid());
        let threads = fs::read_dir(path).unwrap().flatten();
        let children = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
        let children: Vec<String> = children.map(Result::unwrap_or_default).collect();
        children.concat().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Waits until no child of it is left, not even as a zombie.
    pub(crate) fn await_no_children(&self) {
        await_some("all its children are reaped", || self.children().is_empty().then_some(()));
    }
}

/// The command that serves a place.
pub(crate) fn serve<A: AsRef<OsStr>>(place: &Place, arguments: &[A]) -> Command {
    let mut command = Command::new(UNHANG);
    command.arg("serve").arg(&place.socket).args(arguments);
    command
}

/// Writes a file that may be executed.
pub(crate) fn script(place: &Place, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = place.directory.path().join(name);
    let draft = place.directory.path().join(format!("{name}.draft"));
    fs::write(&draft, text).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    // Copied by another process: `copy_program` says why.
    crate::support::hang::copy_program(&draft, &path);
    path
}

/// Whether a process still runs.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
