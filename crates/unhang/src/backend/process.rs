//! A process in a group of its own: started with pipes, and ended together with its group.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal as Name;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, sleep};

use super::command::Command;
use super::group::{self, look};
use super::notice::{Holder, Why, refused};
use crate::Fault;

/// Between SIGTERM and SIGKILL: every runtime is gone 1 to 20 ms after SIGTERM, and a clean-up of
/// 300 ms fits. A program that takes longer than that has had its deadline already.
const GRACE: Duration = Duration::from_secs(1);

/// How often we look meanwhile whether all of the group is gone.
const LOOK: Duration = Duration::from_millis(10);

/// A process that is our child. Dropped before its end was seen, it is killed with its group.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: u32,
    /// Until the child was reaped: afterwards the number may be another's.
    group: Option<Pid>,
}

/// Our ends of its standard streams.
#[derive(Debug)]
pub(super) struct Pipes {
    /// Unless the command has another.
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// The groups of all processes that run.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn running() -> MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all process groups that the backends of this process have started and that still run. For
/// one that is about to end at once, and would leave them behind without a deadline.
pub fn kill_all() {
    for group in running().iter().filter_map(|&group| Pid::from_raw(group)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

impl Process {
    pub(super) fn start(command: &mut tokio::process::Command) -> io::Result<(Self, Pipes)> {
        let mut child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let (stdin, outputs) = (child.stdin.take(), child.stdout.take().zip(child.stderr.take()));
        let process = Self { child, pid, group };
        running().extend(process.group.map(Pid::as_raw_pid));
        let (stdout, stderr) = outputs.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok((process, Pipes { stdin, stdout, stderr }))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end. Processes that it left running in its group go on.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.forget();
        Ok(status)
    }

    /// Ends it and all of its group: SIGTERM, and after a grace SIGKILL, which reaches one that is
    /// stopped or ignores SIGTERM, too. Gives the others of its group.
    pub(super) async fn end(&mut self) -> Vec<Holder> {
        let Some(group) = self.group else { return Vec::new() };
        let id = self.pid;
        let with = look(move || group::members(id)).await.unwrap_or_default();
        let _ = kill_process_group(group, Signal::TERM);
        let until = Instant::now() + GRACE;
        // The leader is not reaped meanwhile: as long as its number is taken, so is the group's.
        while Instant::now() < until {
            if has_ended(group)
                && look(move || group::members(id)).await.is_none_or(|left| left.is_empty())
            {
                break;
            }
            sleep(LOOK).await;
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.wait().await;
        with
    }

    /// Its number may be another's from now on.
    fn forget(&mut self) {
        if let Some(group) = self.group.take() {
            running().remove(&group.as_raw_pid());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
            self.forget();
        }
    }
}

/// Whether a child has ended, without reaping it.
fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(child), options), Ok(None))
}

/// Why a process has ended, by its status; `oom_kills` were counted when it was started.
pub(super) fn why(status: ExitStatus, oom_kills: Option<u64>) -> Why {
    match (status.code(), status.signal()) {
        (Some(0), _) => Why::Done,
        (Some(code), _) => Why::Exit(code),
        (None, signal) => {
            let number = signal.unwrap_or_default();
            let name = Name::try_from(number);
            let name = name.map_or_else(|_| format!("signal {number}"), |name| name.to_string());
            // Only SIGKILL comes from the out-of-memory killer.
            let out_of_memory = signal == Some(Name::SIGKILL as i32)
                && oom_kills.zip(self::oom_kills()).is_some_and(|(before, now)| now > before);
            Why::Signal { name, out_of_memory }
        }
    }
}

/// How often the kernel's out-of-memory killer has struck since the machine was started.
pub(super) fn oom_kills() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/vmstat").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Why nothing was started: what the client may know, and what the operator should.
pub(super) fn not_started(command: &Command, error: &io::Error) -> (Fault, String) {
    let cure = match Errno::from_io_error(error) {
        Some(Errno::AGAIN) => "let it have more processes: ulimit -u, or TasksMax= in systemd",
        Some(Errno::NOMEM) => "the machine is short of memory",
        Some(Errno::MFILE | Errno::NFILE) => {
            "let it open more files: ulimit -n, or LimitNOFILE= in systemd"
        }
        _ => {
            let why = command.check().err().map(|why| why.to_string());
            let why = why.unwrap_or_else(|| format!("{}: {error}", command.file().display()));
            return (refused::fault("the program cannot be started", refused::ABSENT), why);
        }
    };
    let told = refused::fault("busy: no process can be started", refused::BUSY);
    (told, format!("{error}; {cure}"))
}
