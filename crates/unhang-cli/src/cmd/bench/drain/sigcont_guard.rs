//! Sees to it that a stopped server goes on, whatever becomes of this command.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::super::server::{Process, Server, list};

/// A shell that knows which processes are stopped. When our end of its pipe closes, also because we
/// were killed, it lets them go on.
#[derive(Debug)]
pub(super) struct SigcontGuard {
    shell: Child,
    pipe: Option<ChildStdin>,
}

const SCRIPT: &str = "while read -r line; do stopped=$line; done
[ -z \"$stopped\" ] || kill -CONT $stopped";

impl SigcontGuard {
    pub(super) fn start() -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // It says which of them are gone.
            .stderr(Stdio::null())
            // Ctrl-C is not for it.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Stops them, until what it gives is dropped.
    pub(super) fn hold(&mut self, processes: Vec<Process>) -> Result<Held<'_>, String> {
        let pids: Vec<_> = processes.iter().map(Process::pid).collect();
        self.tell(&list(&pids)).map_err(|error| format!("cannot tell the shell: {error}"))?;
        // Before they stop: one that cannot be stopped must not leave the others so.
        let held = Held { guard: self, processes };
        Server::stop(&held.processes)?;
        Ok(held)
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        self.pipe.as_mut().map_or(Ok(()), |pipe| writeln!(pipe, "{line}"))
    }
}

impl Drop for SigcontGuard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}

/// As long as this lives, they are stopped.
pub(super) struct Held<'a> {
    guard: &'a mut SigcontGuard,
    processes: Vec<Process>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        Server::go_on(&self.processes);
        // It would only let them go on once more.
        let _ = self.guard.tell("");
    }
}
