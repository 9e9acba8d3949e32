//! Everything that was seen, joined: sockets, which processes hold them, and where those processes' threads
//! are. And the gate: of two samples, only what is the same in both counts as standing still.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::cmd::why::ask::location::Location;
use crate::cmd::why::ask::reader::Reader;
use crate::cmd::why::ask::server::waits::ServerReport;
use crate::cmd::why::see::path_state::PathState;
use crate::cmd::why::see::process::Process;
use crate::cmd::why::see::process::thread::Thread;
use crate::sock_diag::{FileId, Kind, LEFT, Socket, State};

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
}

/// Where the listeners are found: there may be thousands, and as many sockets that ask for theirs.
#[derive(Debug, Default)]
struct Index {
    by_file: HashMap<FileId, u32>,
    by_name: HashMap<Vec<u8>, u32>,
    /// The listener in whose queue a client waits.
    queue_of: HashMap<u32, u32>,
}

/// How a thread moved between two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It has not run between the two, or only as the timeout of its call ran out.
    Still,
    /// In the same call in both, and it woke once or twice a second between, as a clock makes it: it is not
    /// at work, but something may have passed.
    Ticking,
    /// On a CPU, or ready for one, in both, and it went to sleep hardly ever.
    Computing,
    Moving,
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

/// Which sockets of this sample are as they were in the one before.
pub(crate) fn unchanged(before: &HashMap<u32, Socket>, now: &HashMap<u32, Socket>) -> HashSet<u32> {
    let is_same = |inode: &u32, socket: &Socket| {
        before.get(inode).is_some_and(|before| is_still(before, socket))
    };
    now.iter().filter(|(inode, socket)| is_same(inode, socket)).map(|(inode, _)| *inode).collect()
}

/// A listener stands still when each client is still in its place: others may have come and some
/// have left, but nobody was accepted.
fn is_still(before: &Socket, now: &Socket) -> bool {
    let stays = |(was, is): (&u32, &u32)| is == was || *is == LEFT;
    match now.state {
        State::Listening => {
            before.cookie == now.cookie
                && before.pending.len() <= now.pending.len()
                && before.pending.iter().zip(&now.pending).all(stays)
        }
        _ => before == now,
    }
}

/// A thread that woke no more often in a second is not at work.
const TICKS: f64 = 2.0;
/// A thread that goes to sleep this often in a second does not compute.
const BUSY_SLEEPS: f64 = 50.0;
/// A thread that computes gets this share of a CPU, even if it goes to sleep now and then.
const COMPUTING: f64 = 0.2;

/// What a thread did from one sample to the next.
pub(crate) fn activity(before: &Thread, now: &Thread, window: Duration) -> Activity {
    let seconds = window.as_secs_f64().max(0.001);
    let slept = now.sleeps.saturating_sub(before.sleeps);
    let runs = |thread: &Thread| thread.state == 'R';
    let stays = !runs(before) && !runs(now) && before.call == now.call;
    let has_run = slept > 0 || now.ran > before.ran;
    if stays && (!has_run || is_only_its_timeout(before, now, slept)) {
        return Activity::Still;
    }
    #[allow(clippy::cast_precision_loss)]
    let times = slept as f64;
    if stays && times <= (TICKS * seconds).max(1.0) {
        return Activity::Ticking;
    }
    let hardly_slept = times <= (BUSY_SLEEPS * seconds).max(1.0);
    // One that never slept was ready for a CPU all the while, and on a crowded machine got none.
    let works = slept == 0 || now.ran - before.ran > COMPUTING * seconds * 1_000.0;
    match hardly_slept && runs(before) && runs(now) && works {
        true => Activity::Computing,
        false => Activity::Moving,
    }
}

/// It woke only as its own timeout ran out: each time after exactly that long. An answer in between
/// would have woken it at another moment.
fn is_only_its_timeout(before: &Thread, now: &Thread, slept: u64) -> bool {
    /// So late a timer may be on a loaded machine, besides a tenth of its time.
    const LATE: Duration = Duration::from_millis(15);
    /// A shorter one is told from an answer by nothing.
    const SHORTEST: Duration = Duration::from_millis(100);
    let ran_at = |thread: &Thread| thread.read_at?.checked_sub(thread.since?);
    let (Some(timeout), Some(first), Some(last)) = (now.timeout, ran_at(before), ran_at(now))
    else {
        return false;
    };
    let Ok(times) = u32::try_from(slept) else { return false };
    if before.timeout != now.timeout || timeout < SHORTEST || times == 0 {
        return false;
    }
    let expected = timeout * times;
    let passed = last.saturating_duration_since(first);
    passed + LATE >= expected && passed <= expected + LATE * times + expected / 10
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::cmd::why::see::process::call::Call;

    fn thread(state: char, call: Call, sleeps: u64, ran: f64) -> Thread {
        Thread { state, call, ran, sleeps, ..Thread::default() }
    }

    #[test]
    fn only_a_thread_that_has_not_run_stands_still() {
        let half = Duration::from_millis(500);
        let asleep = thread('S', Call::Read(4), 10, 5.0);
        let judged = |now| activity(&asleep, &now, half);
        assert_eq!(judged(thread('S', Call::Read(4), 10, 5.0)), Activity::Still);
        // Regression: a thread that answered up to 25 requests in the window was said to sleep.
        assert_eq!(judged(thread('S', Call::Read(4), 11, 5.1)), Activity::Ticking);
        assert_eq!(judged(thread('S', Call::Read(4), 12, 5.1)), Activity::Moving);
        assert_eq!(judged(thread('S', Call::Read(5), 10, 5.0)), Activity::Moving);
        assert_eq!(judged(thread('R', Call::None, 10, 5.0)), Activity::Moving);
    }

    /// As curl does, which wakes once a second to see whether its time is up.
    #[test]
    fn a_thread_that_wakes_only_at_its_own_timeout_stands_still() {
        let (began, ms) = (Instant::now() + Duration::from_secs(9), Duration::from_millis);
        let at = |sleeps: u32, read_at: Duration, since: Duration| Thread {
            timeout: Some(ms(1_000)),
            since: Some(since),
            read_at: Some(began + read_at),
            ..thread('S', Call::Poll(None), sleeps.into(), sleeps.into())
        };
        // It ran 300 ms before the window.
        let before = at(10, ms(0), ms(300));
        let judged = |ran_at: u64, times: u32| {
            let now = at(10 + times, ms(1_500), ms(1_500 - ran_at));
            activity(&before, &now, ms(1_500))
        };
        assert_eq!(judged(700, 1), Activity::Still);
        assert_eq!(judged(790, 1), Activity::Still);
        for ran_at in [0, 300, 600, 900, 1_400] {
            assert_eq!(judged(ran_at, 1), Activity::Ticking, "{ran_at}");
        }
        assert_eq!(judged(700, 2), Activity::Ticking);
        let other = Thread { timeout: Some(ms(900)), ..at(11, ms(1_500), ms(800)) };
        assert_eq!(activity(&before, &other, ms(1_500)), Activity::Ticking);
    }

    #[test]
    fn a_queue_stands_still_while_nobody_is_accepted() {
        let queue = |pending: &[u32]| Socket {
            state: State::Listening,
            pending: pending.to_vec(),
            ..Socket::default()
        };
        let stands = |before: &[u32], now: &[u32]| is_still(&queue(before), &queue(now));
        for now in [&[7, 8][..], &[7, 8, 9], &[LEFT, 8], &[7, LEFT, 9], &[LEFT, LEFT]] {
            assert!(stands(&[7, 8], now), "{now:?}");
        }
        for now in [&[8][..], &[8, 9], &[8, 9, 10], &[]] {
            assert!(!stands(&[7, 8], now), "{now:?}");
        }
        // The first of them was accepted, and turned out to have left.
        assert!(!stands(&[LEFT, 8, 9], &[8, 9, 10]) && !stands(&[LEFT, LEFT], &[LEFT]));
        assert!(!stands(&[LEFT, 8, 9], &[LEFT, 9, 10]));
    }

    #[test]
    fn a_thread_computes_when_it_runs_all_the_while() {
        let half = Duration::from_millis(500);
        let runs = thread('R', Call::None, 10, 1_000.0);
        let judged = |now| activity(&runs, &now, half);
        assert_eq!(judged(thread('R', Call::None, 11, 1_400.0)), Activity::Computing);
        assert_eq!(judged(thread('R', Call::None, 11, 1_050.0)), Activity::Moving);
        assert_eq!(judged(thread('R', Call::None, 99, 1_400.0)), Activity::Moving);
    }

    /// It was said to move, and its client, with certainty, not to hang.
    #[test]
    fn a_thread_that_never_sleeps_computes_whatever_share_of_a_cpu_it_gets() {
        let window = Duration::from_millis(100);
        let runs = thread('R', Call::None, 10, 1_000.0);
        assert_eq!(activity(&runs, &runs, window), Activity::Computing);
        assert_eq!(
            activity(&runs, &thread('S', Call::None, 11, 1_001.0), window),
            Activity::Moving
        );
    }
}
