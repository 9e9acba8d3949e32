//! What the owners of one end do about it: which read it, which watch it, and what all the other
//! threads do instead. Pure: facts in, facts out.

use std::collections::HashSet;

use crate::cmd::why::facts::{Activity, Facts};
use crate::cmd::why::see::process::Process;
use crate::cmd::why::see::process::call::{Call, Watch};
use crate::cmd::why::see::process::epoll::Registration;
use crate::cmd::why::see::process::thread::Thread;
use crate::sock_diag::Socket;

/// One end of a connection, and all threads that could attend to it.
#[derive(Debug)]
pub(crate) struct Endpoint<'a> {
    pub(crate) socket: &'a Socket,
    pub(crate) owners: Vec<(&'a Process, u32)>,
    /// Not all that its owners do can be seen, or not which they are.
    pub(crate) is_hidden: bool,
    /// Threads that wait until this end, and no other socket, can be read.
    pub(crate) readers: Vec<WaitingThread<'a>>,
    /// Threads that wait until this end can be written.
    pub(crate) writers: Vec<WaitingThread<'a>>,
    /// Event loops that it is registered with.
    pub(crate) loops: Vec<Loop<'a>>,
    /// The owners' threads that do none of this.
    pub(crate) others: Others<'a>,
}

/// Threads that are found only when they are asked for: a process may have as many as it has sockets.
#[derive(Debug)]
pub(crate) struct Others<'a> {
    facts: &'a Facts,
    processes: Vec<&'a Process>,
    /// Those that attend to this end.
    except: HashSet<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitingThread<'a> {
    pub(crate) process: &'a Process,
    pub(crate) thread: &'a Thread,
    pub(crate) activity: Activity,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Loop<'a> {
    pub(crate) fd: u32,
    pub(crate) registration: Registration,
    /// A thread that sleeps until something happens in this loop.
    pub(crate) sleeper: Option<WaitingThread<'a>>,
    /// It watches no other socket but such as the program wakes itself with.
    pub(crate) is_sole: bool,
}

impl<'a> Endpoint<'a> {
    pub(crate) fn of(facts: &'a Facts, socket: &'a Socket) -> Self {
        let owners: Vec<_> = facts.owners(socket.inode).collect();
        let mut endpoint = Self {
            socket,
            is_hidden: owners.is_empty() && facts.may_hide_owners(),
            owners,
            readers: Vec::new(),
            writers: Vec::new(),
            loops: Vec::new(),
            others: Others { facts, processes: Vec::new(), except: HashSet::new() },
        };
        for (process, fd) in endpoint.once_each() {
            endpoint.add(facts, process, fd);
        }
        endpoint
    }

    /// The owners, each process once: it may hold it twice, as after a `dup()`.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &'a Process> {
        self.once_each().into_iter().map(|(process, _)| process)
    }

    fn once_each(&self) -> Vec<(&'a Process, u32)> {
        let mut seen = HashSet::new();
        self.owners.iter().copied().filter(|(process, _)| seen.insert(process.pid)).collect()
    }

    fn add(&mut self, facts: &'a Facts, process: &'a Process, fd: u32) {
        let inode = self.socket.inode;
        self.add_epolls(facts, process, fd);
        self.is_hidden |= facts.hides_calls(process);
        for thread in facts.threads_at(process, inode) {
            let waiter = WaitingThread { process, thread, activity: facts.activity(thread) };
            let is_this = |watch: &&Watch| process.inode(watch.fd) == Some(inode);
            match &thread.call {
                Call::Read(_) => self.readers.push(waiter),
                Call::Write(_) => self.writers.push(waiter),
                Call::Poll(Some(watches)) => match watches.iter().find(is_this) {
                    Some(watch) => self.add_poll(facts, waiter, *watch, watches),
                    None => continue,
                },
                _ => continue,
            }
            self.others.except.insert(thread.tid);
        }
        self.others.processes.push(process);
    }

    fn add_epolls(&mut self, facts: &'a Facts, process: &'a Process, fd: u32) {
        let Some(descriptors) = &process.descriptors else { return };
        for epoll in &descriptors.epolls {
            let Some(registration) = epoll.watches(self.socket.inode) else { continue };
            let waits = |thread: &&Thread| match &thread.call {
                Call::Epoll(epfd) => *epfd == epoll.fd || descriptors.nests(*epfd, epoll.fd),
                Call::Poll(Some(watches)) => watches.iter().any(|watch| watch.fd == epoll.fd),
                _ => false,
            };
            let sleeper = process.threads.iter().find(waits).map(|thread| {
                if matches!(thread.call, Call::Epoll(_)) {
                    self.others.except.insert(thread.tid);
                }
                WaitingThread { process, thread, activity: facts.activity(thread) }
            });
            let others = epoll.conversations(|inode| is_conversation(facts, process, inode));
            let is_sole = others.iter().all(|other| *other == self.socket.inode);
            self.loops.push(Loop { fd, registration, sleeper, is_sole });
        }
    }

    fn add_poll(&mut self, facts: &Facts, waiter: WaitingThread<'a>, watch: Watch, all: &[Watch]) {
        let process = waiter.process;
        let others = all
            .iter()
            .filter_map(|watch| process.inode(watch.fd))
            .filter(|other| *other != self.socket.inode);
        let is_sole = !others.into_iter().any(|other| is_conversation(facts, process, other));
        if is_sole && watch.reads {
            self.readers.push(waiter);
        } else if is_sole && watch.writes {
            self.writers.push(waiter);
        } else {
            let events = u32::from(watch.reads) | u32::from(watch.writes) << 2;
            let inode = self.socket.inode.into();
            let registration = Registration { fd: watch.fd, inode, data: 0, events };
            let sleeper = Some(waiter);
            self.loops.push(Loop { fd: watch.fd, registration, sleeper, is_sole });
        }
    }

    /// No thread that could take part in an exchange here has run since the look began, so nothing
    /// passed at this end. A thread that is blocked in this very socket answers for all: what it waits
    /// for did not come.
    pub(crate) fn is_still(&self) -> bool {
        let still = |one: &WaitingThread<'_>| one.activity == Activity::Still;
        let mut users = self.readers.iter().chain(&self.writers).peekable();
        if users.peek().is_some() {
            return users.all(still);
        }
        let mut sleepers = self.loops.iter().filter_map(|one| one.sleeper.as_ref());
        !self.owners.is_empty()
            && !self.is_hidden
            && sleepers.all(still)
            && self.others.restless().next().is_none()
    }

    /// All of its owners were stopped, and so nothing will happen until they go on.
    pub(crate) fn is_stopped(&self) -> bool {
        !self.owners.is_empty() && self.owners.iter().all(|(process, _)| process.is_stopped())
    }

    /// Nobody holds it: it lies in a message that passes it on, or in the kernel.
    pub(crate) fn is_unheld(&self) -> bool {
        self.owners.is_empty() && !self.is_hidden
    }

    /// The loop that a thread sleeps in, and that will wake it when there is something to read.
    pub(crate) fn reading_loop(&self) -> Option<Loop<'a>> {
        self.sleeping_loops().find(|one| one.registration.reads())
    }

    pub(crate) fn sleeping_loops(&self) -> impl Iterator<Item = Loop<'a>> {
        self.loops.iter().copied().filter(|one| one.sleeper.is_some())
    }

    pub(crate) fn holds(&self, pid: u32) -> bool {
        self.owners.iter().any(|(process, _)| process.pid == pid)
    }
}

impl<'a> Others<'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = WaitingThread<'a>> {
        self.those(|process| process.threads.iter())
    }

    /// Those that do not stand still.
    pub(crate) fn restless(&self) -> impl Iterator<Item = WaitingThread<'a>> {
        self.those(|process| self.facts.restless(process))
    }

    /// There is one, and no more.
    pub(crate) fn only(&self) -> Option<WaitingThread<'a>> {
        let mut all = self.iter();
        all.next().filter(|_| all.next().is_none())
    }

    fn those<T: Iterator<Item = &'a Thread>>(
        &self,
        threads: impl Fn(&'a Process) -> T,
    ) -> impl Iterator<Item = WaitingThread<'a>> {
        let of = move |process: &'a Process| threads(process).map(move |thread| (process, thread));
        self.processes.iter().copied().flat_map(of).filter_map(|(process, thread)| {
            let is_other = thread.call != Call::Hidden && !self.except.contains(&thread.tid);
            let activity = self.facts.activity(thread);
            is_other.then_some(WaitingThread { process, thread, activity })
        })
    }
}

/// A socket of the process whose other end is another's.
fn is_conversation(facts: &Facts, process: &Process, inode: u32) -> bool {
    let is_held =
        process.descriptors.as_ref().is_some_and(|descriptors| descriptors.find(inode).is_some());
    is_held && !facts.is_own_pair(process.pid, inode)
}
