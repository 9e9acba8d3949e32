//! Everything that was seen, joined: sockets, which processes hold them, and where those processes' threads
//! are.

mod stillness;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::cmd::why::ask::location::Location;
use crate::cmd::why::ask::reader::Reader;
use crate::cmd::why::ask::server::waits::ServerReport;
use crate::cmd::why::see::path_state::PathState;
use crate::cmd::why::see::process::Process;
use crate::cmd::why::see::process::call::Call;
use crate::cmd::why::see::process::thread::Thread;
use crate::sock_diag::{FileId, Kind, Socket, State};
pub(crate) use stillness::{Activity, activity, unchanged};

/// What `verdict` judges. It holds no open file and asks nobody.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// By inode, as of the last sample.
    pub(crate) sockets: HashMap<u32, Socket>,
    /// The inodes of those that listen.
    pub(crate) listening: Vec<u32>,
    /// How many clients waited in each listener's queue at the first sample.
    pub(crate) queued_first: HashMap<u32, u32>,
    /// Those that were the same in every sample: same cookie, queues, peer and shutdown.
    pub(crate) steady: HashSet<u32>,
    /// Process and descriptor, by inode. Several if a descriptor was inherited or passed on.
    pub(crate) owners: HashMap<u32, Vec<(u32, u32)>>,
    pub(crate) processes: BTreeMap<u32, Process>,
    /// Processes whose descriptors this user may not see.
    pub(crate) hidden: HashSet<u32>,
    /// Processes that were not looked at, or not wholly, and why.
    pub(crate) passed_over: BTreeMap<u32, String>,
    /// How each thread moved between the samples.
    pub(crate) activities: HashMap<u32, Activity>,
    /// Threads blocked in `connect()`, and the file their address leads to.
    pub(crate) connecting: Vec<Connecting>,
    /// Threads blocked in sending a datagram.
    pub(crate) sending: Vec<Sending>,
    /// What the name of each listener leads to now.
    pub(crate) path_states: HashMap<u32, PathState>,
    pub(crate) details: Details,
    pub(crate) visibility: Visibility,
    index: OnceCell<Index>,
    threads: OnceCell<Threads>,
}

/// Where the listeners are found: there may be thousands, and as many sockets that ask for theirs.
#[derive(Debug, Default)]
struct Index {
    by_file: HashMap<FileId, u32>,
    by_name: HashMap<Vec<u8>, u32>,
    /// The listener in whose queue a client waits.
    queue_of: HashMap<u32, u32>,
}

/// Where the threads are found, of which a process may have as many as it has sockets.
#[derive(Debug, Default)]
struct Threads {
    /// Process and place in it of those that read, write, connect or poll a socket, by its inode.
    at: HashMap<u32, Vec<(u32, usize)>>,
    /// The places of those that do not stand still, by process.
    restless: HashMap<u32, Vec<usize>>,
    /// Processes with a thread whose call may not be seen.
    hiding: HashSet<u32>,
}

/// A thread that is blocked in a call on a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked {
    pub(crate) pid: u32,
    pub(crate) fd: u32,
    pub(crate) inode: u32,
    pub(crate) since: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) struct Connecting {
    pub(crate) thread: Blocked,
    pub(crate) name: Vec<u8>,
    pub(crate) file: Option<FileId>,
}

/// A thread that is blocked in sending a datagram.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) thread: Blocked,
    /// The receiver's socket, if it is seen.
    pub(crate) to: Option<u32>,
}

/// What it takes a closer look to learn: taken only of connections that seem to hang.
#[derive(Debug, Default)]
pub(crate) struct Details {
    /// The process that called `listen()`, of listeners with clients in their queue.
    pub(crate) listened: HashMap<u32, u32>,
    /// What an end whose server is gone was connected to.
    pub(crate) former: HashMap<u32, Former>,
    /// The first of the unread bytes, only if the user asked to see data.
    pub(crate) unread: HashMap<u32, Vec<u8>>,
    /// Which goroutine reads a socket.
    pub(crate) readers: HashMap<u32, Result<Option<Reader>, String>>,
    /// What a server of ours says of its own ends.
    pub(crate) reports: HashMap<u32, ServerReport>,
    /// What a server of ours has learnt of the calls on other machines that its ends wait for, in lines.
    pub(crate) calls: HashMap<u32, String>,
    /// Where a process's scripts are: one for each thread that runs one.
    pub(crate) places: HashMap<u32, Result<Vec<Location>, String>>,
}

/// The name of a server's end that is no more, and the file it leads to now.
#[derive(Clone, Debug)]
pub(crate) struct Former {
    pub(crate) name: Vec<u8>,
    pub(crate) file: Option<FileId>,
}

/// What could be seen at all.
#[derive(Clone, Debug, Default)]
// Each is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Visibility {
    pub(crate) uid: u32,
    pub(crate) namespaces: usize,
    /// Network namespaces that could not be looked into.
    pub(crate) hidden_namespaces: usize,
    /// Capabilities that this user would need to see everything, and has not.
    pub(crate) lacks: Vec<&'static str>,
    /// Processes are left out of what is seen: by a mount option of /proc, or as they are in a namespace
    /// of processes above ours.
    pub(crate) is_partial: bool,
    /// We are in a namespace of processes that is not the first, as in a container.
    pub(crate) is_nested: bool,
    /// Some that may not be looked into are this very user's.
    pub(crate) hides_own: bool,
    /// The kernel hides a process's calls and memory from its own user (Yama).
    pub(crate) is_restricted: bool,
    pub(crate) samples: usize,
    pub(crate) window: Duration,
}

impl Facts {
    /// Takes over what a dump gave.
    pub(crate) fn see(&mut self, sockets: HashMap<u32, Socket>) {
        let listens = |socket: &&Socket| socket.state == State::Listening;
        self.listening = sockets.values().filter(listens).map(|socket| socket.inode).collect();
        self.sockets = sockets;
        self.index = OnceCell::new();
    }

    /// An end without an owner that is seen may have one that is not.
    pub(crate) fn may_hide_owners(&self) -> bool {
        !self.hidden.is_empty() || self.visibility.is_partial
    }

    /// Notes the queues of the first sample.
    pub(crate) fn note_queues(&mut self) {
        let queues = self.listeners().map(|one| (one.inode, one.unread)).collect();
        self.queued_first = queues;
    }

    pub(crate) fn owners(&self, inode: u32) -> impl Iterator<Item = (&Process, u32)> {
        let owners = self.owners.get(&inode).into_iter().flatten();
        owners.filter_map(|(pid, fd)| Some((self.processes.get(pid)?, *fd)))
    }

    /// Whether the process has a Unix socket there.
    pub(crate) fn is_held_at(&self, pid: u32, fd: u32) -> bool {
        self.owners.values().flatten().any(|held| *held == (pid, fd))
    }

    /// The children of a process, as far as they were looked at.
    pub(crate) fn children(&self, pid: u32) -> impl Iterator<Item = &Process> {
        self.processes.values().filter(move |process| process.parent == pid)
    }

    /// The threads that are blocked in sending to this socket.
    pub(crate) fn sending_to(&self, receiver: u32) -> impl Iterator<Item = &Sending> {
        self.sending.iter().filter(move |sending| sending.to == Some(receiver))
    }

    pub(crate) fn is_steady(&self, inode: u32) -> bool {
        self.steady.contains(&inode)
    }

    pub(crate) fn activity(&self, thread: &Thread) -> Activity {
        self.activities.get(&thread.tid).copied().unwrap_or(Activity::Moving)
    }

    /// The threads of a process that read, write, connect or poll this socket.
    pub(crate) fn threads_at<'a>(
        &'a self,
        process: &'a Process,
        inode: u32,
    ) -> impl Iterator<Item = &'a Thread> {
        let at = self.threads().at.get(&inode).into_iter().flatten();
        at.filter(|(pid, _)| *pid == process.pid).filter_map(|(_, at)| process.threads.get(*at))
    }

    /// The threads of a process that do not stand still.
    pub(crate) fn restless<'a>(&self, process: &'a Process) -> impl Iterator<Item = &'a Thread> {
        let restless = self.threads().restless.get(&process.pid).into_iter().flatten();
        restless.filter_map(|at| process.threads.get(*at))
    }

    /// It has a thread whose call may not be seen.
    pub(crate) fn hides_calls(&self, process: &Process) -> bool {
        self.threads().hiding.contains(&process.pid)
    }

    /// Asked for once all samples are in.
    fn threads(&self) -> &Threads {
        self.threads.get_or_init(|| {
            let mut found = Threads::default();
            for process in self.processes.values() {
                for (at, thread) in process.threads.iter().enumerate() {
                    if thread.call == Call::Hidden {
                        found.hiding.insert(process.pid);
                    }
                    if self.activity(thread) != Activity::Still {
                        found.restless.entry(process.pid).or_default().push(at);
                    }
                    for inode in process.sockets_at(thread) {
                        found.at.entry(inode).or_default().push((process.pid, at));
                    }
                }
            }
            found
        })
    }

    /// The listener that has this socket's name: of an accepted socket, the one that accepted it.
    pub(crate) fn listener_of(&self, socket: &Socket) -> Option<&Socket> {
        let index = self.index();
        let inode = match socket.file {
            Some(file) => index.by_file.get(&file),
            None if socket.name.starts_with(b"\0") => index.by_name.get(&socket.name),
            None => None,
        };
        self.sockets.get(inode?)
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Socket> {
        self.listening.iter().filter_map(|inode| self.sockets.get(inode))
    }

    /// The listener in whose queue this client's end waits.
    pub(crate) fn queue_of(&self, inode: u32) -> Option<&Socket> {
        self.sockets.get(self.index().queue_of.get(&inode)?)
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            for listener in self.listeners() {
                match listener.file {
                    Some(file) => index.by_file.insert(file, listener.inode),
                    None => index.by_name.insert(listener.name.clone(), listener.inode),
                };
                let queued = listener.pending.iter().map(|client| (*client, listener.inode));
                index.queue_of.extend(queued);
            }
            index
        })
    }

    /// The end that a server accepted: it bears its listener's name, and its client's end none.
    pub(crate) fn is_accepted(&self, socket: &Socket) -> bool {
        matches!(socket.kind, Kind::Stream | Kind::SeqPacket)
            && socket.state == State::Connected
            && !socket.name.is_empty()
            && match socket.peer_inode().and_then(|peer| self.sockets.get(&peer)) {
                Some(peer) if !peer.name.is_empty() => self.listener_of(socket).is_some(),
                _ => true,
            }
    }

    /// Both ends in one process, as programs have to wake themselves up.
    pub(crate) fn is_own_pair(&self, pid: u32, inode: u32) -> bool {
        let peer = self.sockets.get(&inode).and_then(Socket::peer_inode);
        peer.and_then(|peer| self.owners.get(&peer))
            .is_some_and(|owners| owners.iter().any(|owner| owner.0 == pid))
    }
}

/// By file if there is one, never by the text of its path; an abstract name is all there is.
pub(crate) fn is_same_address(one: &Socket, other: &Socket) -> bool {
    match (one.file, other.file) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.name.starts_with(b"\0") && one.name == other.name,
        _ => false,
    }
}
