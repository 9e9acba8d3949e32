//! A server under test: how it is started, and what its clients have to know of its fate.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::service::{DRAIN, HANDLER, LINGER, QUEUE, READ, WRITE};

/// Which program serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A service with the library: the replies show what they answer.
    Echo,
    /// `unhang serve`.
    Serve,
}

pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
    unhang: PathBuf,
    /// Odd while nobody serves, because a server was stopped or killed.
    fate: AtomicU64,
    /// Odd while one is killed, until another serves.
    kills: AtomicU64,
    /// For how long it was stopped by SIGSTOP, in microseconds.
    frozen: AtomicU64,
    /// Whether its log is read at the moment.
    log_reading: Arc<AtomicU8>,
    open: AtomicBool,
    inside: AtomicUsize,
}

/// The state of a server at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    fate: u64,
    kills: u64,
    frozen: u64,
}

impl Moment {
    /// Whether a refused connection is no fault, with `later` as the state after it.
    pub(crate) fn may_refuse(self, later: Self) -> bool {
        self.fate % 2 == 1 || self.fate != later.fate
    }

    pub(crate) fn killed_until(self, later: Self) -> bool {
        self.kills % 2 == 1 || self.kills != later.kills
    }

    pub(crate) fn frozen_until(self, later: Self) -> Duration {
        Duration::from_micros(later.frozen - self.frozen)
    }
}

impl Target {
    pub(crate) fn new(kind: Kind, directory: &Path, unhang: &Path) -> Self {
        Self {
            kind,
            path: directory.join(format!("{kind:?}").to_lowercase()),
            unhang: unhang.to_path_buf(),
            fate: AtomicU64::new(0),
            kills: AtomicU64::new(0),
            frozen: AtomicU64::new(0),
            log_reading: Arc::new(AtomicU8::new(LogReading::AtOnce as u8)),
            open: AtomicBool::new(false),
            inside: AtomicUsize::new(0),
        }
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment {
            fate: self.fate.load(SeqCst),
            kills: self.kills.load(SeqCst),
            frozen: self.frozen.load(SeqCst),
        }
    }

    /// Does something in which nobody may be served for a while.
    pub(crate) fn while_down<T>(&self, work: impl FnOnce() -> T) -> T {
        self.fate.fetch_add(1, SeqCst);
        let done = work();
        self.fate.fetch_add(1, SeqCst);
        done
    }

    /// Kills what serves, or may serve, here, and starts another. A successor that is killed right after
    /// it said that it serves leaves its clients in a queue that the old server still has for some
    /// milliseconds, and accepts from no more: they are reset when that one lets go.
    pub(crate) fn while_killed<T>(&self, work: impl FnOnce() -> T) -> T {
        self.kills.fetch_add(1, SeqCst);
        let done = self.while_down(work);
        self.kills.fetch_add(1, SeqCst);
        done
    }

    pub(crate) fn freeze(&self, server: &Process, pause: Duration) {
        let begun = Instant::now();
        server.signal(Signal::STOP);
        std::thread::sleep(pause);
        // Before it goes on: nobody is to see its end without this.
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.frozen.fetch_add(micros, SeqCst);
        server.signal(Signal::CONT);
    }

    pub(crate) fn read_log(&self, reading: LogReading) {
        self.log_reading.store(reading as u8, SeqCst);
    }

    /// Lets clients in, or no more.
    pub(crate) fn open(&self, open: bool) {
        self.open.store(open, SeqCst);
    }

    /// Whether a client may begin; it says when it has ended.
    pub(crate) fn enter(&self) -> bool {
        self.inside.fetch_add(1, SeqCst);
        let open = self.open.load(SeqCst);
        if !open {
            self.leave();
        }
        open
    }

    pub(crate) fn leave(&self) {
        self.inside.fetch_sub(1, SeqCst);
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.inside.load(SeqCst) == 0
    }

    pub(crate) fn command(&self, path: &Path, replace: bool) -> io::Result<Command> {
        let mut command = match self.kind {
            Kind::Echo => Command::new(std::env::current_exe()?),
            Kind::Serve => Command::new(&self.unhang),
        };
        command.arg("serve").arg(path).stdin(Stdio::null());
        if self.kind == Kind::Serve {
            for (flag, value) in [
                ("--read-deadline", READ),
                ("--handler-deadline", HANDLER),
                ("--write-deadline", WRITE),
                ("--linger", LINGER),
                ("--drain-deadline", DRAIN),
                ("--queue-deadline", QUEUE),
            ] {
                command.arg(flag).arg(format!("{}s", value.as_secs()));
            }
        }
        if replace {
            command.arg("--replace");
        }
        Ok(command)
    }

    /// Starts a server without waiting for it.
    pub(crate) fn spawn(&self, replace: bool) -> io::Result<Child> {
        self.command(&self.path, replace)?.stdout(Stdio::piped()).spawn()
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn start(&self, replace: bool) -> io::Result<Process> {
        const LONGEST: Duration = Duration::from_secs(15);
        let mut child = self.spawn(replace)?;
        let (ready, listens) = channel();
        if let Some(mut log) = child.stdout.take() {
            let reading = Arc::clone(&self.log_reading);
            std::thread::spawn(move || read(&mut log, &reading, &ready));
        }
        let mut server = Process { child, replace, leaving: None };
        if listens.recv_timeout(LONGEST).is_err() {
            server.kill();
            return Err(io::Error::other("it does not listen; what it said is above"));
        }
        Ok(server)
    }
}

/// How a server's log is read.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum LogReading {
    AtOnce,
    /// As a disk that takes 16 KiB ten times a second.
    Slowly,
    Not,
}

fn read(log: &mut impl Read, reading: &AtomicU8, ready: &Sender<()>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(1..) = log.read(&mut buffer) {
        // The first line is the one; nobody listens for it after that.
        let _ = ready.send(());
        if reading.load(SeqCst) == LogReading::Slowly as u8 {
            std::thread::sleep(Duration::from_millis(100));
        }
        while reading.load(SeqCst) == LogReading::Not as u8 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A server process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    /// Whether it was started with `--replace`.
    pub(crate) replace: bool,
    /// Since when it is to end.
    pub(crate) leaving: Option<Instant>,
}

impl Process {
    pub(crate) fn signal(&self, signal: Signal) {
        // Fails only if it has ended, which is seen by others.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    pub(crate) fn kill(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended: well, or how else.
    pub(crate) fn ended(&mut self) -> Option<Result<(), String>> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) if status.success() => Some(Ok(())),
            Ok(Some(status)) => Some(Err(status.to_string())),
            Err(error) => Some(Err(format!("how is not known: {error}"))),
        }
    }

    pub(crate) fn descriptors(&self) -> usize {
        open_in(self.child.id()).len()
    }

    /// What its descriptors are, to find the one too many.
    pub(crate) fn what_is_open(&self) -> String {
        open_in(self.child.id()).join(", ")
    }

    /// Its resident memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let row = status.unwrap_or_default();
        let row = row.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        row.and_then(|row| row.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The descriptors of a process, and what they are. None, if it has ended.
pub(crate) fn open_in(pid: u32) -> Vec<String> {
    let entries = Path::new(&format!("/proc/{pid}/fd")).read_dir().into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        Some(format!("{} {}", entry.file_name().to_string_lossy(), target.display()))
    });
    names.collect()
}

/// Whether somebody answers at this path.
pub(crate) fn answers(path: &Path) -> bool {
    let ask = || {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        io::Write::write_all(&mut stream, b"echo 1\n")?;
        stream.read_to_end(&mut Vec::new())
    };
    ask().is_ok_and(|count| count > 0)
}
