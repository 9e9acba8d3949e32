//! The server's processes: which they are, what they use, and how to stop them and let them go on.

mod listener;
mod process;
mod stat;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::Signal;

pub(super) use process::Process;
use stat::Stat;

/// The processes that were named, and with them all that descend from them.
#[derive(Clone, Debug)]
pub(super) struct Server {
    roots: Vec<Process>,
}

/// What they have used in all their life.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) cpu: Duration,
    /// Context switches, of the threads that there are.
    pub(super) switches: u64,
    pub(super) processes: usize,
}

/// How long the server may go on with what its clients do not wait for, before its time is read.
const SETTLE: Duration = Duration::from_millis(20);
/// How long a signal may take to stop every thread: they are in no system call that could hold it.
const STOP: Duration = Duration::from_secs(1);
/// Between two looks at the states of all threads.
const LOOK: Duration = Duration::from_micros(200);

impl Server {
    pub(super) fn new(pids: &[i32]) -> Result<Self, String> {
        // One that is named twice has used no more for that.
        let pids: BTreeSet<_> = pids.iter().copied().collect();
        let roots = pids.into_iter().map(|pid| {
            check(pid)?;
            Process::open(pid).map_err(|error| match error {
                Errno::SRCH => no_process(pid),
                error => format!("cannot hold pid {pid} by a pidfd: {}", io::Error::from(error)),
            })
        });
        Ok(Self { roots: roots.collect::<Result<_, _>>()? })
    }

    /// The process that listens behind a connection.
    pub(super) fn behind(socket: impl AsFd) -> Result<Self, String> {
        let found = listener::behind(socket).and_then(|process| {
            check(process.pid())?;
            Ok(Self { roots: vec![process] })
        });
        found.map_err(|why| format!("{why}: name the server by --pid"))
    }

    pub(super) fn pids(&self) -> Vec<i32> {
        self.roots.iter().map(Process::pid).collect()
    }

    /// All of them, parents first.
    pub(super) fn processes(&self) -> Vec<i32> {
        let descendants = self.descendants().into_iter().map(|stat| stat.pid);
        self.pids().into_iter().chain(descendants).collect()
    }

    /// All of them, parents first, so that each can be sent a signal.
    pub(super) fn handles(&self) -> Vec<Process> {
        let descendants = self.descendants().into_iter().filter_map(|seen| {
            let process = Process::open(seen.pid).ok()?;
            // It may have ended since it was seen, and its number be another's.
            let now = Stat::of(seen.pid)?;
            (now.started == seen.started).then_some(process)
        });
        self.roots.iter().cloned().chain(descendants).collect()
    }

    fn descendants(&self) -> Vec<Stat> {
        let all = Stat::of_all();
        let mut parents = self.pids();
        let mut known: BTreeSet<i32> = parents.iter().copied().collect();
        let (mut found, mut looked_at) = (Vec::new(), 0);
        while let Some(&parent) = parents.get(looked_at) {
            let children = all.iter().filter(|process| process.parent == parent);
            let new: Vec<_> = children.filter(|child| known.insert(child.pid)).copied().collect();
            parents.extend(new.iter().map(|child| child.pid));
            found.extend(new);
            looked_at += 1;
        }
        found
    }

    /// Or why nobody knows: what one of them has used that has ended is gone with it.
    pub(super) fn used(&self) -> Result<Used, String> {
        if let Some(gone) = self.roots.iter().find(|root| root.has_ended()) {
            return Err(format!("pid {} has ended", gone.pid()));
        }
        let processes = self.processes();
        let mut used = Used { processes: processes.len(), ..Used::default() };
        for pid in processes {
            used.cpu += clock(pid).unwrap_or_default();
            // Of children that have ended meanwhile: what they used is their parent's now.
            used.cpu += Stat::of(pid).map_or(Duration::ZERO, |stat| stat.reaped);
            used.switches += stat::switches(pid);
        }
        Ok(used)
    }

    /// Waits for a moment until none of them runs.
    pub(super) fn settle(&self) {
        await_all(&self.processes(), SETTLE, |state| !matches!(state, 'R' | 'D'));
    }

    /// Stops all of their threads.
    pub(super) fn stop(processes: &[Process]) -> Result<(), String> {
        for (nth, process) in processes.iter().enumerate() {
            match process.send(Signal::STOP) {
                Ok(()) => {}
                // A child that has ended since they were listed; the first was named.
                Err(Errno::SRCH) if nth > 0 => {}
                Err(error) => {
                    let (pid, error) = (process.pid(), io::Error::from(error));
                    return Err(format!("cannot stop the server, pid {pid}: {error}"));
                }
            }
        }
        let pids: Vec<_> = processes.iter().map(Process::pid).collect();
        match await_all(&pids, STOP, |state| matches!(state, 'T' | 't' | 'Z' | 'X')) {
            true => Ok(()),
            false => Err(format!("pid {} does not stop within {STOP:?}", list(&pids))),
        }
    }

    pub(super) fn go_on(processes: &[Process]) {
        for process in processes {
            // Fails only if it is gone, or was never ours to stop.
            let _ = process.send(Signal::CONT);
        }
    }
}

/// What must not be measured, and by no means stopped: no process, ourselves, and the processes that wait for us.
fn check(pid: i32) -> Result<(), String> {
    if pid <= 1 {
        return Err(format!("expected the pid of a server, got {pid}"));
    }
    // A thread that is not the first has an entry in /proc, too, and no clock of a process.
    if Stat::of(pid).is_none() || clock(pid).is_none() {
        return Err(no_process(pid));
    }
    let mut one_of_us = i32::try_from(std::process::id()).unwrap_or_default();
    while one_of_us > 1 {
        if one_of_us == pid {
            return Err(format!("pid {pid} is this command itself, or what has started it"));
        }
        one_of_us = Stat::of(one_of_us).map_or(0, |stat| stat.parent);
    }
    Ok(())
}

fn no_process(pid: i32) -> String {
    format!("there is no process {pid} any more")
}

/// In nanoseconds, of all threads and of those that have ended: `utime` in /proc counts in ticks
/// of 10 ms, and `schedstat` forgets the threads that have ended.
fn clock(pid: i32) -> Option<Duration> {
    let time = clock_gettime(clock_getcpuclockid(Pid::from_raw(pid)).ok()?).ok()?;
    Some(Duration::from(time))
}

/// Whether all their threads came to such a state in time.
fn await_all(processes: &[i32], within: Duration, is_there: impl Fn(char) -> bool) -> bool {
    let began = Instant::now();
    loop {
        let states = processes.iter().flat_map(|pid| stat::thread_states(*pid));
        if states.into_iter().all(&is_there) {
            return true;
        }
        if began.elapsed() > within {
            return false;
        }
        sleep(LOOK);
    }
}

pub(super) fn list(processes: &[i32]) -> String {
    let pids: Vec<_> = processes.iter().map(i32::to_string).collect();
    pids.join(" ")
}

/// What `ps` calls it.
pub(super) fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_process_and_those_that_started_us_are_no_servers() {
        for pid in [0, 1, -5] {
            assert!(Server::new(&[pid]).unwrap_err().contains("expected the pid"));
        }
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert!(Server::new(&[parent]).unwrap_err().contains("has started it"));
        assert!(Server::new(&[i32::MAX]).unwrap_err().contains("no process"));
    }

    #[test]
    fn what_a_child_uses_counts_while_it_lives_and_when_it_has_ended() {
        let us = i32::try_from(std::process::id()).unwrap();
        let server = Server { roots: vec![Process::open(us).unwrap()] };
        let before = server.used().unwrap();
        let spin = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; read -r end";
        let mut child = std::process::Command::new("sh")
            .args(["-c", spin])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(await_all(&[pid], Duration::from_secs(30), |state| state == 'S'));
        let used = clock(pid).unwrap();
        assert!(server.processes().contains(&pid));
        assert!(server.used().unwrap().cpu >= before.cpu + used);
        drop(child.stdin.take());
        child.wait().unwrap();
        // Now counted in ticks.
        let tick = Duration::from_millis(20);
        assert!(server.used().unwrap().cpu + tick >= before.cpu + used);
    }

    #[test]
    fn a_process_named_twice_counts_once_and_an_ended_one_is_not_said_to_have_used_nothing() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let server = Server::new(&[pid, pid]).unwrap();
        assert_eq!(server.processes(), [pid]);
        assert_eq!(server.used().unwrap().processes, 1);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(server.used().unwrap_err(), format!("pid {pid} has ended"));
    }

    #[test]
    fn a_thread_is_no_process() {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            let _ = ended.recv();
        });
        assert!(Server::new(&[told.recv().unwrap()]).unwrap_err().contains("no process"));
        drop(end);
        thread.join().unwrap();
    }
}
