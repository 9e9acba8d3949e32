//! The process that wrote a reply, and whether it was alive when its connection closed. The kernel closes
//! the connections of a process that dies, and its client sees the same end as behind a whole reply.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use crate::backend::notice::Why;
use crate::backend::process::why;

/// It has begun to end: `PF_EXITING` in the kernel's sched.h.
const EXITING: u64 = 0x4;

/// What a close means.
#[derive(Debug)]
pub(super) enum Close {
    /// The server's own code has closed, or its process has ended as one does that serves one client.
    Meant,
    /// The process died with the connection open.
    Died(Why),
    /// The process is gone: nobody can know any more how it ended.
    Unseen,
}

/// Looks at the processes that write replies.
#[derive(Debug, Default)]
pub(super) struct Writers {
    /// The last one, and a file of it that tells of its memory: most servers are one process, and to open the
    /// file at each close would cost more than all else that a small reply costs here.
    last: Mutex<Option<(u32, File)>>,
}

impl Writers {
    /// What the close of a connection means that this process had written to. Ask at once: how a process
    /// ended is known only until its parent has heard of it.
    pub(super) fn close(&self, writer: u32, connection: impl AsFd) -> Close {
        if self.has_memory(writer) {
            return Close::Meant;
        }
        let Some(stat) = read(writer) else {
            // The process that listens is the whole server.
            return match is_listener(writer, connection) {
                true => Close::Died(Why::Unknown("it is gone".to_owned())),
                false => Close::Unseen,
            };
        };
        if !stat.ends || (stat.status == 0 && has_live_thread(writer)) {
            return Close::Meant;
        }
        match why(ExitStatus::from_raw(stat.status), None) {
            how @ Why::Signal { .. } => Close::Died(how),
            // A server that stops does not wait for its replies.
            how if is_listener(writer, connection) => Close::Died(how),
            // A server that forks for each client ends like this behind each reply. Its exit code says
            // nothing of the reply: socat has 1 for a program that answered and then failed.
            _ => Close::Meant,
        }
    }

    /// Whether it has memory. A process that dies gives it back before the kernel closes its descriptors
    /// (`do_exit` in the kernel's exit.c), and then its `coredump_filter` is empty, and all numbers in its
    /// `statm` are 0.
    fn has_memory(&self, pid: u32) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.take().filter(|(known, _)| *known == pid).map(|(_, file)| file);
        let opened = known.or_else(|| memory_of(pid));
        let Some(file) = opened else { return false };
        let mut digits = [0; 2];
        // A file of a process that was reaped cannot be read any more.
        let has = file.read_exact_at(&mut digits, 0).is_ok() && &digits != b"0 ";
        if has {
            *last = Some((pid, file));
        }
        has
    }
}

/// The first of them takes half as long to read, and is not known to a kernel without core dumps
/// (`CONFIG_ELF_CORE`).
fn memory_of(pid: u32) -> Option<File> {
    let mut files = ["coredump_filter", "statm"].into_iter();
    files.find_map(|name| File::open(format!("/proc/{pid}/{name}")).ok())
}

/// The first thread of a process may have ended long before the others.
fn has_live_thread(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = threads.map(|thread| fs::read_to_string(thread.path().join("stat")));
    stats.flatten().filter_map(|stat| parse(&stat)).any(|stat| !stat.ends)
}

struct Stat {
    ends: bool,
    /// As `wait(2)` gives it; 0 if we may not know.
    status: i32,
}

/// None if there is no such process.
fn read(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `proc_pid_stat(5)`: behind the name, which is in brackets and may hold anything, the state, the flags as
/// the 9th column of all, and the status as the last.
fn parse(stat: &str) -> Option<Stat> {
    let (_, columns) = stat.rsplit_once(") ")?;
    let columns: Vec<&str> = columns.split_ascii_whitespace().collect();
    let flags: u64 = columns.get(6)?.parse().ok()?;
    let ends = matches!(columns.first(), Some(&("Z" | "X"))) || flags & EXITING != 0;
    Some(Stat { ends, status: columns.get(49)?.parse().ok()? })
}

/// Whether it called `listen()` for the other end of this connection.
fn is_listener(pid: u32, connection: impl AsFd) -> bool {
    let listener = getsockopt(&connection, PeerCredentials).map(|it| it.pid());
    listener.is_ok_and(|listener| u32::try_from(listener) == Ok(pid))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_end_of_a_process_is_read_until_it_is_reaped() {
        assert!(!read(std::process::id()).unwrap().ends);
        let mut child = Command::new("sh").args(["-c", "kill -9 $$"]).spawn().unwrap();
        let stat = loop {
            let stat = read(child.id()).unwrap();
            if stat.ends {
                break stat;
            }
            std::thread::yield_now();
        };
        assert_eq!(stat.status, 9);
        let writers = Writers::default();
        assert!(writers.has_memory(std::process::id()) && !writers.has_memory(child.id()));
        child.wait().unwrap();
        assert!(read(child.id()).is_none() && !writers.has_memory(child.id()));
        // Once from its own file, and once from the one that is kept.
        assert!((0..2).all(|_| writers.has_memory(std::process::id())));
    }

    #[test]
    fn any_name_is_read_and_rubbish_is_none() {
        let end = " 0".repeat(42);
        let stat = parse(&format!("7 (a) Z 0) S 1 7 7 0 -1 4{end} 9")).unwrap();
        assert!(stat.ends && stat.status == 9, "{}", stat.status);
        for nothing in ["", "7 (a) S 1", "7 (a"] {
            assert!(parse(nothing).is_none(), "{nothing}");
        }
    }
}
