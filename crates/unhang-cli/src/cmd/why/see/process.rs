//! What `/proc` tells of processes: which descriptors they hold and where each thread is.
//!
//! Everything is read and nothing is stopped, so a process may end or move on between two reads:
//! what is gone is left out, and what may not be seen is marked as hidden, never as absent.

pub(crate) mod call;
pub(crate) mod descriptors;
pub(crate) mod epoll;
mod frozen;
pub(crate) mod sched;
pub(crate) mod thread;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::cmd::why::helper::Helper;
use crate::cmd::why::helper::question::{Program, Question};
use call::Call;
use descriptors::{Descriptors, links};
use epoll::Epoll;
use sched::Clock;
use thread::Thread;

/// One process, as far as this user may see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// The name that `ps` shows.
    pub(crate) name: String,
    pub(crate) uid: Option<u32>,
    /// Device and inode of the program's file: two processes with the same one are forks of one
    /// another, or could be.
    pub(crate) program: Option<(u64, u64)>,
    /// None: this user may not see them.
    pub(crate) descriptors: Option<Descriptors>,
    /// How many descriptors it may have, and how many it may itself allow itself.
    pub(crate) limit: Option<u64>,
    pub(crate) hard_limit: Option<u64>,
    pub(crate) threads: Vec<Thread>,
    /// How long ago it began.
    pub(crate) age: Option<Duration>,
    /// The file that says that it is frozen, and the command that thaws it.
    pub(crate) frozen: Option<(String, Option<String>)>,
}

impl Process {
    /// Stopped by a signal or a debugger, or frozen: nothing it holds will be read or closed.
    pub(crate) fn is_stopped(&self) -> bool {
        self.frozen.is_some()
            || !self.threads.is_empty()
                && self.threads.iter().all(|thread| matches!(thread.state, 'T' | 't'))
    }

    /// The socket that the descriptor is.
    pub(crate) fn inode(&self, fd: u32) -> Option<u32> {
        self.descriptors.as_ref()?.inode(fd)
    }

    /// The sockets that a thread reads, writes, connects or polls, each once.
    pub(crate) fn sockets_at(&self, thread: &Thread) -> BTreeSet<u32> {
        let inode = |fd: &u32| self.inode(*fd);
        match &thread.call {
            Call::Read(fd) | Call::Write(fd) | Call::Connect(fd, _) => {
                inode(fd).into_iter().collect()
            }
            Call::Poll(Some(watches)) => {
                watches.iter().filter_map(|watch| inode(&watch.fd)).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// It holds an end of it.
    pub(crate) fn has_pipe(&self, inode: u32) -> bool {
        let mut pipes = self.descriptors.iter().flat_map(|all| &all.pipes);
        pipes.any(|pipe| pipe.1 == inode)
    }

    /// It may open no further descriptor.
    pub(crate) fn is_at_limit(&self) -> bool {
        match (&self.descriptors, self.limit) {
            (Some(descriptors), Some(limit)) => u64::from(descriptors.next) >= limit,
            _ => false,
        }
    }
}

/// Every process's id. An error says that there is no /proc: it has at least this process.
pub(crate) fn pids() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pids: Vec<u32> = pids.collect();
    match pids.is_empty() {
        true => Err(io::Error::other("/proc is not mounted: mount -t proc proc /proc")),
        false => Ok(pids),
    }
}

/// The children of each of these processes that has some.
pub(crate) fn children(pids: &[u32]) -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in pids {
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(stat) = thread::Stat::parse(&stat) {
            children.entry(stat.parent).or_default().push(*pid);
        }
    }
    children
}

/// Which sockets a process holds, without its epoll instances. An error of the kind
/// `PermissionDenied` says that it is hidden; any other, that it is gone.
pub(crate) fn sockets(pid: u32) -> io::Result<Vec<(u32, u32)>> {
    Ok(links(pid)?.sockets)
}

/// Yama's setting, if the kernel has it: above 0, a user may not look into processes of others' making.
pub(crate) fn is_restricted() -> bool {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    scope.trim().parse().is_ok_and(|scope: u32| scope > 0)
}

/// We are in a namespace of processes that is not the first, and see only those in it.
pub(crate) fn is_nested() -> bool {
    /// `PROC_PID_INIT_INO` in `include/linux/proc_ns.h`.
    const FIRST: &str = "pid:[4026531836]";
    fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name.as_os_str() != FIRST)
}

/// Not all processes are in our /proc: it was mounted with `hidepid`.
pub(crate) fn is_partial() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    hides_processes(&mounts, rustix::process::geteuid().is_root())
}

/// The user that a process runs as: also of one that may not be looked into.
pub(crate) fn user(pid: u32) -> Option<u32> {
    uid(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// By the options behind the last column of the mount at /proc, `proc(5)`; root is exempt from the first
/// two kinds, as it may look into every process.
fn hides_processes(mounts: &str, is_root: bool) -> bool {
    let is_proc = |line: &&str| line.split(' ').nth(4) == Some("/proc");
    let options = mounts.lines().rfind(is_proc).and_then(|line| line.rsplit(' ').next());
    options.is_some_and(|options| {
        options.split(',').any(|option| match option {
            "hidepid=invisible" | "hidepid=2" => !is_root,
            "hidepid=ptraceable" | "hidepid=4" => true,
            _ => false,
        })
    })
}

/// A kernel thread holds no descriptor, and so hides none.
pub(crate) fn is_kernel_thread(pid: u32) -> bool {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    thread::Stat::parse(&stat).is_some_and(|stat| stat.flags & PF_KTHREAD != 0)
}

/// All of one process; None if it has ended.
pub(crate) fn read(pid: u32, clock: &mut Clock, helper: &Helper) -> Option<Process> {
    if helper.deadline().is_over() {
        helper.pass_over(pid);
        return None;
    }
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let stat = thread::Stat::parse(&fs::read(directory.join("stat")).ok()?)?;
    let descriptors = match links(pid) {
        Ok(links) => {
            let epolls = epolls(pid, &links.epolls, helper);
            let next = links.next();
            Some(Descriptors::new(links.sockets, links.pipes, epolls, next))
        }
        Err(_) => None,
    };
    let program: Option<Program> = helper.ask(pid, &Question::Program { pid }).flatten();
    if program.is_none() && is_ending(pid, stat.state) {
        return None;
    }
    let (limit, hard_limit) =
        limits(&fs::read_to_string(directory.join("limits")).unwrap_or_default());
    Some(Process {
        pid,
        parent: stat.parent,
        name: stat.name,
        age: thread::age(stat.started),
        uid: uid(&fs::read_to_string(directory.join("status")).unwrap_or_default()),
        program: program.map(|file| (file.device, file.inode)),
        threads: thread::read_all(pid, program, descriptors.as_ref(), clock, helper),
        descriptors,
        limit,
        hard_limit,
        frozen: frozen::frozen(pid),
    })
}

/// It has given up its memory, and so its program, and closes its descriptors next: what it does is not hidden, but
/// over. Of a process that is left by its first thread alone (Z), others may still be at work.
fn is_ending(pid: u32, state: char) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe"));
    state != 'Z' && program.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// What its event loops watch. Each descriptor of one of them tells all that it watches, so a process
/// with many for the same could make us read for minutes.
fn epolls(pid: u32, fds: &[u32], helper: &Helper) -> Vec<Epoll> {
    /// Some 10 MB of text: the busiest servers watch a hundred thousand.
    const MOST: usize = 1 << 17;
    let mut all = Vec::new();
    let mut watched = 0;
    for fd in fds {
        if watched > MOST {
            helper.pass_over_as(pid, "its event loops watch more than is looked at");
            break;
        }
        if helper.deadline().is_over() {
            helper.pass_over(pid);
            break;
        }
        let Some(epoll) = Epoll::read(pid, *fd) else { continue };
        watched += epoll.watched.len();
        all.push(epoll);
    }
    all
}

/// The effective one of the four in the line `Uid:`.
fn uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The soft and the hard limit of descriptors; None if there is none.
fn limits(limits: &str) -> (Option<u64>, Option<u64>) {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut columns = line.unwrap_or_default().split_ascii_whitespace();
    let mut limit = || columns.next()?.parse().ok();
    (limit(), limit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::why::deadline::Deadline;

    /// Regression: if /proc hides processes, ends that they hold were said to be with nobody.
    #[test]
    fn a_mount_of_proc_that_hides_processes_is_told_by_its_options() {
        let mounts = |options: &str| {
            format!(
                "22 1 0:5 / /proc rw,relatime - proc proc {options}\n23 1 0:6 / /x rw - t t rw\n"
            )
        };
        assert!(!hides_processes(&mounts("rw"), false));
        assert!(!hides_processes(&mounts("rw,hidepid=1"), false));
        for options in ["rw,hidepid=invisible", "rw,hidepid=2,gid=5"] {
            assert!(hides_processes(&mounts(options), false), "{options}");
            assert!(!hides_processes(&mounts(options), true), "{options}");
        }
        assert!(hides_processes(&mounts("rw,hidepid=ptraceable"), true));
        assert!(!hides_processes("", false) && !hides_processes("22 1", false));
    }

    #[test]
    fn the_limits_and_the_effective_user_are_taken() {
        let text = "Limit   Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
        assert_eq!(limits(text), (Some(1024), Some(4096)));
        assert_eq!(limits("Max open files  1024  unlimited  files\n"), (Some(1024), None));
        assert_eq!(uid("Name:\tx\nUid:\t1\t2\t3\t4\n"), Some(2));
        assert_eq!((limits(""), uid("Uid:\tx"), uid("")), ((None, None), None, None));
    }

    #[test]
    fn this_process_is_read_with_its_sockets_and_threads() {
        use std::os::fd::AsRawFd;
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let pid = std::process::id();
        let helper = Helper::new(Deadline::after(Duration::from_secs(60)));
        let process = read(pid, &mut Clock::new(), &helper).unwrap();
        let fd = u32::try_from(one.as_raw_fd()).unwrap();
        let descriptors = process.descriptors.as_ref().unwrap();
        let inode = descriptors.inode(fd).unwrap();
        assert_eq!(descriptors.find(inode), Some(fd));
        assert!(descriptors.next >= 4 && !process.is_at_limit());
        assert!(process.threads.iter().any(|thread| thread.tid == pid));
        assert!(process.program.is_some() && !process.is_stopped());
        assert!(!is_kernel_thread(pid) && read(u32::MAX, &mut Clock::new(), &helper).is_none());
    }
}
