//! Which process waits for which, to the end: a server that is held up by another, and that one by a third;
//! or by a child process.

use super::cause::{self, Cause};
use super::finding::{Evidence, Hop};
use super::unread_bytes::cures;
use super::upstream;
use super::words::{lasting, name_of, owners, source, thread_does, who};
use crate::cmd::why::ask::reader::Reader;
use crate::cmd::why::endpoint::{Endpoint, WaitingThread};
use crate::cmd::why::facts::{Activity, Facts};
use crate::cmd::why::see::process::Process;
use crate::cmd::why::see::process::call::Call;
use crate::sock_diag::Socket;

/// What was followed.
#[derive(Default)]
pub(super) struct Chain {
    pub(super) hops: Vec<Evidence>,
    /// The processes passed, in order.
    pub(super) links: Vec<Hop>,
    /// The names around the circle, where the last waits for the first.
    pub(super) circle: Option<Vec<String>>,
    /// What has the last of them go on at once.
    pub(super) now: Vec<String>,
    /// It ends at a process that is seen to stand or to compute, and not at one that is at work.
    pub(super) is_held_up: bool,
    /// The threads passed.
    passed: Vec<(u32, String)>,
    /// The process whose waiting is followed; None: the one that it began at.
    waiter: Option<u32>,
}

/// Where a process's waiting leads.
enum Next<'a> {
    /// To the far end of the socket with this inode.
    Far(u32),
    Child(&'a Process),
}

/// More processes in a row than anybody builds: each is one that has not been passed.
const LONGEST: usize = 32;

/// Follows a thread that waits for the other end of the socket `inode`.
pub(super) fn follow(facts: &Facts, waiter: WaitingThread<'_>, inode: u32) -> Chain {
    let passed = vec![(waiter.thread.tid, who(waiter.process))];
    Chain { passed, ..Chain::default() }.followed(facts, Next::Far(inode))
}

/// Follows an event loop that waits, as a client, for the other end of the socket `inode`.
pub(super) fn behind(facts: &Facts, front: &Endpoint<'_>, inode: u32) -> Chain {
    let sleepers = front.sleeping_loops().filter_map(|one| one.sleeper);
    let passed: Vec<_> = sleepers.map(|one| (one.thread.tid, who(one.process))).collect();
    Chain { passed, ..Chain::default() }.followed(facts, Next::Far(inode))
}

/// Begins at a process that has the request.
pub(super) fn of_process(facts: &Facts, process: &Process) -> Chain {
    Chain::default().followed(facts, Next::Child(process))
}

impl Chain {
    fn followed<'a>(mut self, facts: &'a Facts, first: Next<'a>) -> Self {
        let mut next = Some(first);
        while let Some(one) = next.filter(|_| self.links.len() < LONGEST) {
            self.waiter = self.links.last().map(|link| link.pid);
            next = match one {
                Next::Far(inode) => self.far(facts, inode),
                Next::Child(process) => self.child(facts, process),
            };
        }
        self
    }

    fn hop(&mut self, text: String) {
        self.hops.push(Evidence { text, source: Some(source::CALL) });
    }

    /// The last hop.
    fn end(&mut self, text: &str) {
        self.hop(format!("{text}: the end of the chain"));
        self.is_held_up = true;
    }

    fn link(&mut self, process: &Process, inode: Option<u32>, does: String) {
        let (pid, name, waiter) = (process.pid, process.name.clone(), self.waiter);
        self.links.push(Hop { pid, name, inode, waiter, does });
    }

    /// The far end of a socket, whose processes somebody waits for.
    fn far<'a>(&mut self, facts: &'a Facts, inode: u32) -> Option<Next<'a>> {
        let socket = facts.sockets.get(&inode)?;
        let far = match (socket.peer_inode(), facts.queue_of(inode)) {
            (Some(peer), _) => facts.sockets.get(&peer),
            (None, Some(listener)) => Some(listener),
            (None, None) => None,
        };
        let Some(far) = far else {
            self.hop("the other end of that is not to be seen".to_owned());
            return None;
        };
        let endpoint = Endpoint::of(facts, far);
        let name = owners(&endpoint);
        let link = |chain: &mut Self, does: &str| {
            for process in endpoint.processes() {
                chain.link(process, Some(far.inode), does.to_owned());
            }
        };
        if endpoint.is_stopped() {
            link(self, "is stopped");
            let processes: Vec<_> = endpoint.processes().collect();
            self.now = cures(&processes);
            self.end(&format!("{name} is stopped"));
            return None;
        }
        if let Some(reader) = endpoint.readers.first() {
            link(self, &thread_does(reader));
            let lasting = lasting(reader.thread.since);
            self.hop(format!("{name} waits to read from it, too{lasting}: each side waits"));
            return None;
        }
        if endpoint.reading_loop().is_some() {
            link(self, "watches it in an event loop");
            return self.watched(facts, &endpoint);
        }
        let cause = cause::of(facts, &endpoint).0;
        match cause.waiter() {
            Some(waiter) => self.link(waiter.process, Some(far.inode), thread_does(&waiter)),
            None => link(self, ""),
        }
        self.held_up(facts, &name, cause)
    }

    /// An event loop would wake if the one before spoke: what it waits for itself, its own connections or
    /// the runtime under it may tell.
    fn watched<'a>(&mut self, facts: &'a Facts, endpoint: &Endpoint<'_>) -> Option<Next<'a>> {
        let name = owners(endpoint);
        match facts.details.readers.get(&endpoint.socket.inode) {
            Some(Ok(Some(Reader::Handled { handler: Ok(handler) }))) if handler.selects => {
                self.hop(format!("{name}: its handler may wait for an event on purpose"));
                return None;
            }
            Some(Ok(Some(Reader::Handled { .. }))) => {
                self.end(&format!("{name} has the request, and its handler has not answered"));
                return None;
            }
            Some(Ok(Some(Reader::Nobody { handlers: 0 }))) => {
                self.end(&format!("{name} is done with the connection and forgot to close it"));
                return None;
            }
            _ => {}
        }
        let sleeper = endpoint.reading_loop().and_then(|one| one.sleeper);
        let sleeper = sleeper.filter(|one| self.is_new(one));
        let upstream = upstream::held_up(facts, endpoint).first().copied();
        let (Some(sleeper), Some(next)) = (sleeper, upstream) else {
            self.hop(format!("{name} watches it in an event loop: the end of what is seen"));
            return None;
        };
        self.hop(format!("{name}: its event loop itself waits for {}", at(facts, next)));
        self.passed.push((sleeper.thread.tid, who(sleeper.process)));
        Some(Next::Far(next))
    }

    /// A process that somebody waits for, and not at a socket.
    fn child<'a>(&mut self, facts: &'a Facts, process: &'a Process) -> Option<Next<'a>> {
        let name = who(process);
        if process.is_stopped() {
            self.link(process, None, "is stopped".to_owned());
            self.now = cures(&[process]);
            self.end(&format!("{name} is stopped"));
            return None;
        }
        let cause = cause::of_process(facts, process);
        let does = cause.waiter().map_or_else(String::new, |waiter| thread_does(&waiter));
        self.link(process, None, does);
        let (Cause::Idle | Cause::Locked(_)) = cause else {
            return self.held_up(facts, &name, cause);
        };
        let Some(next) = upstream::held_up_of(facts, process).first().copied() else {
            self.hop(format!("{name}: its threads sleep; which of its tasks waits is not seen"));
            // It has the request, and nothing of it has run.
            let is_still = |thread| facts.activity(thread) == Activity::Still;
            self.is_held_up = process.threads.iter().all(is_still);
            return None;
        };
        self.hop(format!("{name}: its event loop itself waits for {}", at(facts, next)));
        Some(Next::Far(next))
    }

    /// What holds the processes of this name up.
    fn held_up<'a>(&mut self, facts: &'a Facts, name: &str, cause: Cause<'_>) -> Option<Next<'a>> {
        let waiter = match cause {
            Cause::Blocked(waiter) => {
                let Some(child) = awaited_child(facts, &waiter) else {
                    self.end(&format!("{name} {}", blocked(&waiter)));
                    return None;
                };
                self.hop(format!("{name} waits for its child process {}", who(child)));
                return Some(Next::Child(child));
            }
            Cause::Computing(waiter) | Cause::Network(waiter) => {
                self.end(&format!("{name} {}", thread_does(&waiter)));
                return None;
            }
            Cause::Backend(waiter, _) => waiter,
            Cause::Idle => {
                self.hop(format!("{name} is idle and does not look at it"));
                self.is_held_up = true;
                return None;
            }
            Cause::Moving => {
                self.hop(format!("{name} is at work"));
                return None;
            }
            Cause::Locked(_) | Cause::Hidden => {
                self.hop(format!("{name}: what it does about it is not to be seen"));
                return None;
            }
        };
        self.hop(format!("{name} {}", thread_does(&waiter)));
        if !self.is_new(&waiter) {
            let first = self.passed.iter().position(|(tid, _)| *tid == waiter.thread.tid);
            let circle = self.passed[first.unwrap_or(0)..].iter().map(|(_, name)| name.clone());
            self.circle = Some(circle.collect());
            self.is_held_up = true;
            return None;
        }
        self.passed.push((waiter.thread.tid, who(waiter.process)));
        match cause {
            Cause::Backend(_, inode) => Some(Next::Far(inode)),
            _ => None,
        }
    }

    fn is_new(&self, waiter: &WaitingThread<'_>) -> bool {
        self.passed.iter().all(|(tid, _)| *tid != waiter.thread.tid)
    }
}

/// A program that gets its requests on standard input waits there for the next one, too.
fn blocked(waiter: &WaitingThread<'_>) -> String {
    let is_pipe = waiter.process.descriptors.as_ref().is_some_and(|all| all.pipe(0).is_some());
    let reads_input = matches!(waiter.thread.call, Call::Read(0)) && is_pipe;
    let more = ": the request is not whole in its eyes, or its answer never left it";
    format!("{}{}", thread_does(waiter), if reads_input { more } else { "" })
}

/// The child whose end a thread waits for, or what it writes to a pipe.
fn awaited_child<'a>(facts: &'a Facts, waiter: &WaitingThread<'_>) -> Option<&'a Process> {
    let process = waiter.process;
    let pipe = |fd: u32| process.descriptors.as_ref()?.pipe(fd);
    let pipes: Vec<u32> = match &waiter.thread.call {
        Call::Child => return facts.children(process.pid).last(),
        Call::Read(fd) => pipe(*fd).into_iter().collect(),
        Call::Poll(Some(watches)) => watches.iter().filter_map(|one| pipe(one.fd)).collect(),
        _ => return None,
    };
    facts.children(process.pid).find(|child| pipes.iter().any(|pipe| child.has_pipe(*pipe)))
}

/// The name of whatever a client's end is connected, or connecting, to.
pub(super) fn at(facts: &Facts, inode: u32) -> String {
    let socket = facts.sockets.get(&inode);
    let peer = socket.and_then(Socket::peer_inode).and_then(|peer| facts.sockets.get(&peer));
    let connecting = || facts.connecting.iter().find(|one| one.thread.inode == inode);
    match (peer, facts.queue_of(inode)) {
        (Some(peer), _) if !peer.name.is_empty() => name_of(&peer.name),
        (_, Some(listener)) => name_of(&listener.name),
        _ => connecting()
            .map_or_else(|| "another socket".to_owned(), |connecting| name_of(&connecting.name)),
    }
}
