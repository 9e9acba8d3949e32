//! A server process: started, awaited, and ended.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, UNHANG, await_some};

/// `unhang serve`, or any other program that says on standard output when it is ready. Dropping it
/// kills it.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    /// Starts `unhang serve PATH ARGUMENTS` and waits until it listens.
    pub(crate) fn serve(path: impl AsRef<OsStr>, arguments: &[&str]) -> Self {
        let mut command = Command::new(UNHANG);
        command.arg("serve").arg(path).args(arguments);
        Self::start(&mut command, "listening")
    }

    /// Starts a program and waits until it prints a line with `ready` in it.
    pub(crate) fn start(command: &mut Command, ready: &str) -> Self {
        let daemon = Self::spawn(command);
        daemon.await_line(ready);
        daemon
    }

    /// Starts a program.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for the next line that has `text` in it, and passes over those before.
    pub(crate) fn await_line(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {text:?} ({error}) among {seen:#?}"),
            }
        }
    }

    /// The first line with `text` in it among those printed since, if there is one yet.
    pub(crate) fn line(&self, text: &str) -> Option<String> {
        self.lines.try_iter().find(|line| line.contains(text))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        await_some("the process ends", || self.child.try_wait().unwrap())
    }

    /// SIGTERM, and its end; gives what it printed since.
    pub(crate) fn stop(mut self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        let status = self.wait();
        (status, self.lines.iter().collect())
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        Path::new(&folder).read_dir().unwrap().count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
