//! What a server behind a front does with one of its connections, seen from outside: from /proc and
//! the kernel's table of sockets. Nothing is stopped and nothing is changed.
//!
//! It *rests* if nothing of it runs, no timer of it ends before the deadline of the reply, and all that its threads and
//! event loops wait for are its listener, its clients, and what it wakes itself with and no other process has; and
//! if it has no child, and catches no signal of a timer. Then only a client can make it say more in time. That a
//! thread reads this very connection is not enough: where one reads and others answer, the reply may go on.

mod alone;
mod files;
mod proc;
mod signals;
mod timer;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use unhang::backend::{Seen, Times, Watch};

use crate::cmd::why::see::process::call::{self, Call, Watch as Watched};
use alone::Alone;
use files::Files;
pub(super) use files::{Behind, behind};
use timer::Arguments;

/// With more processes a look would take longer than a millisecond or two: then we do not know.
const MOST_PROCESSES: usize = 64;

/// Sees servers of Unix sockets.
pub(super) struct Rest(Files);

impl Rest {
    pub(super) fn new() -> std::io::Result<Self> {
        Files::new().map(Self)
    }
}

impl Watch for Rest {
    fn look(&self, connection: BorrowedFd<'_>, times: Times) -> Seen {
        self.seen(connection, times).unwrap_or(Seen::Unknown)
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}

impl Rest {
    fn seen(&self, connection: BorrowedFd<'_>, times: Times) -> Option<Seen> {
        let own = u32::try_from(rustix::fs::fstat(connection).ok()?.st_ino).ok()?;
        let Some(theirs) = self.0.peer_of(own).ok()? else {
            // Still in the accept queue: nobody has taken it.
            return Some(Seen::Works);
        };
        let mut activity = Activity::default();
        let family = family(listener_of(connection)?)?;
        let mut holders = Vec::new();
        for &pid in &family {
            if let Some(fd) = self.0.descriptor(pid, theirs) {
                self.add(pid, fd, times, &mut activity)?;
                holders.push(pid);
            }
        }
        if holders.is_empty() {
            // Another user's, or one that was started in another way.
            return None;
        }
        // Whether they have slept comes last: what was seen before holds until then.
        let rests = !activity.works
            && self.are_alone(&holders, &family, &activity.alone)?
            && have_slept(&activity.threads)?;
        Some(if rests { Seen::Rests } else { Seen::Works })
    }

    /// Whether nothing but a client, or they themselves, can wake these processes.
    fn are_alone(&self, holders: &[u32], family: &[u32], alone: &Alone) -> Option<bool> {
        for &pid in holders {
            let is_woken = signals::may_come(pid, || self.0.is_go(pid))?;
            if is_woken || signals::has_children(pid, holders) {
                return Some(false);
            }
        }
        alone.is_theirs(holders, family)
    }

    /// Adds what one process does that holds the connection as `fd`.
    fn add(&self, pid: u32, fd: u32, times: Times, activity: &mut Activity) -> Option<()> {
        let memory = Polled(File::open(format!("/proc/{pid}/mem")).ok());
        let mut timed_locks = 0;
        let (mut timed_loops, mut accepts) = (0, false);
        let threads: Vec<_> = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten().collect();
        let numbers = threads.iter().filter_map(|one| one.file_name().to_str()?.parse().ok());
        let numbers: Vec<u32> = numbers.collect();
        for thread in threads {
            let path = thread.path();
            activity.threads.push((path.clone(), fs::read_to_string(path.join("schedstat")).ok()?));
            let line = fs::read_to_string(path.join("syscall")).ok()?;
            let call = call::parse(&line, String::new, &memory);
            let arguments = Arguments::of(&line);
            // A loop that watches this connection was woken for it, so its wait began later.
            let outlasts = || {
                call::timeout(&line, &memory).is_some_and(|after| after >= times.since + times.left)
            };
            let rests = match call {
                Call::Read(one) if one == fd => true,
                Call::Accept(other) => {
                    accepts = true;
                    self.0.is_clients(pid, other, &mut activity.alone)
                }
                Call::Read(other) => self.0.is_clients(pid, other, &mut activity.alone),
                Call::Poll(Some(watched)) => match &*watched {
                    [Watched { fd: one, reads: true, .. }] if *one == fd => true,
                    // A wait for the next client alone may have an end: it is a wait for a client.
                    [one] => !one.writes && self.0.is_clients(pid, one.fd, &mut activity.alone),
                    all => {
                        let is_timed = !arguments.polls_for_ever();
                        timed_loops += u32::from(is_timed);
                        (!is_timed || (all.iter().any(|one| one.fd == fd) && outlasts()))
                            && all.iter().all(|one| {
                                !one.writes && self.0.is_clients(pid, one.fd, &mut activity.alone)
                            })
                    }
                },
                Call::Epoll(epoll) => {
                    let is_timed = !arguments.waits_for_ever();
                    timed_loops += u32::from(is_timed);
                    (!is_timed || (files::watches(pid, epoll, fd) && outlasts()))
                        && self.0.are_all_clients(pid, epoll, &mut activity.alone)
                }
                // One with a timeout is a timer; but for that of Go's monitor, which looks after a program
                // at rest once a minute.
                Call::Futex if !arguments.is_of_process(&numbers) => false,
                Call::Futex if arguments.locks_for_ever() => true,
                Call::Futex if arguments.lasts(times.left, &memory) => true,
                Call::Futex => {
                    timed_locks += 1;
                    timed_locks == 1 && self.0.is_go(pid)
                }
                Call::Sleep => arguments.lasts(times.left, &memory),
                _ => false,
            };
            activity.works |= !rests;
        }
        // With two of them, or if another thread accepts, the connection may have woken the other one.
        activity.works |= timed_loops > 1 || (timed_loops == 1 && accepts);
        Some(())
    }
}

/// Where a server keeps the descriptors that it polls.
struct Polled(Option<File>);

impl call::Memory for Polled {
    fn read(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.as_ref()?.read_exact_at(&mut bytes, address).ok()?;
        Some(bytes)
    }
}

/// What the processes do that hold a connection.
#[derive(Default)]
struct Activity {
    /// A thread of them runs, or waits for something that is not a client's.
    works: bool,
    /// What they rest with only if no other process has it.
    alone: Alone,
    /// All their threads, and how long each had run when it was looked at.
    threads: Vec<(PathBuf, String)>,
}

/// Whether none of these threads has run since it was looked at, and there are no others. They are looked
/// at one after another: one that was seen asleep may have been woken by another before that one went to
/// sleep. If none has run, all were asleep at once. And a list of threads breaks off where one of them ends
/// meanwhile, so they are counted, too.
fn have_slept(threads: &[(PathBuf, String)]) -> Option<bool> {
    let processes: BTreeSet<_> =
        threads.iter().filter_map(|(path, _)| path.ancestors().nth(2)).collect();
    let counts = processes.iter().map(|process| {
        // The 20th column, of which the third is the first behind the name.
        column(&fs::read_to_string(process.join("stat")).ok()?, 20)
    });
    let count: u64 = counts.sum::<Option<u64>>()?;
    let slept = |(path, ran): &(PathBuf, String)| {
        fs::read_to_string(path.join("schedstat")).is_ok_and(|now| now == *ran)
    };
    Some(
        u64::try_from(threads.len()).is_ok_and(|listed| listed == count)
            && threads.iter().all(slept),
    )
}

/// A column of /proc/PID/stat behind the name, which is in brackets: `proc_pid_stat(5)` counts from 1.
fn column(stat: &str, nth: usize) -> Option<u64> {
    let (_, columns) = stat.rsplit_once(") ")?;
    columns.split(' ').nth(nth - 3)?.parse().ok()
}

/// The process that called `listen()` for the other end of a connection.
fn listener_of(connection: BorrowedFd<'_>) -> Option<u32> {
    let pid = getsockopt(&connection, PeerCredentials).ok()?.pid();
    u32::try_from(pid).ok().filter(|pid| *pid > 0)
}

/// A process and all that descend from it; none with too many of them.
fn family(first: u32) -> Option<Vec<u32>> {
    let mut all = vec![first];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        next += 1;
        all.extend(proc::children(pid));
        if all.len() > MOST_PROCESSES {
            return None;
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_of_its_own_family() {
        assert!(family(std::process::id()).unwrap().contains(&std::process::id()));
        assert_eq!(family(u32::MAX), Some(vec![u32::MAX]));
    }
}
