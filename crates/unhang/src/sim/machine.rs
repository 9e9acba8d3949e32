//! The machine of a simulated world: its accept queue and its pollers, with the kernel's rules and edges.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::io::Errno;

use crate::serve::stream::Interest;
use crate::serve::system::{Abort, Poller, Queue, Ready, System, Task};

use super::clock::{self, TaskId};
use super::plan::Trouble;
use super::socket::{ServerEnd, Socket};

#[derive(Clone, Copy)]
pub(super) struct Machine;

impl System for Machine {
    type Stream = ServerEnd;
    type Listener = Listener;
    type Poller = SimPoller;

    fn now(&self) -> Instant {
        clock::now()
    }

    fn poller(&self) -> io::Result<SimPoller> {
        Ok(SimPoller::new())
    }

    fn spawn(&self, task: Task) -> Box<dyn Abort> {
        Box::new(clock::spawn(task))
    }

    fn pause(&self) {}
}

impl Abort for TaskId {
    fn abort(&self) {
        // As a runtime does: the task is dropped by another thread, a moment later.
        let task = *self;
        clock::spawn(async move { clock::abort(task) });
    }
}

/// The listener as one server has it.
pub(super) struct Listener {
    /// Which server.
    server: usize,
    line: Arc<Mutex<Line>>,
    this: Weak<Listener>,
}

/// The accept queue, which all servers with this listener share.
struct Line {
    begun: Instant,
    /// How many servers have it, and would accept.
    servers: usize,
    inside: VecDeque<Socket>,
    shut: bool,
    backlog: usize,
    trouble: Option<Trouble>,
    /// Since when it has not been empty.
    busy_since: Option<Instant>,
    /// Those that watch it, in the order in which the kernel asks them.
    watching: Vec<(bool, Weak<Mutex<Watches>>)>,
    waiting: Vec<Waker>,
    rng: Rng,
}

impl Listener {
    pub(super) fn new(backlog: usize, trouble: Option<Trouble>, seed: u64) -> Arc<Self> {
        let line = Line {
            begun: clock::now(),
            servers: 1,
            inside: VecDeque::new(),
            shut: false,
            backlog,
            trouble,
            busy_since: None,
            watching: Vec::new(),
            waiting: Vec::new(),
            rng: Rng::with_seed(seed),
        };
        let line = Arc::new(Mutex::new(line));
        Arc::new_cyclic(|this| Self { server: 0, line, this: Weak::clone(this) })
    }

    /// The same listener, of another server.
    pub(super) fn share(&self, server: usize) -> Arc<Self> {
        self.line().servers += 1;
        let line = Arc::clone(&self.line);
        Arc::new_cyclic(|this| Self { server, line, this: Weak::clone(this) })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room in the queue; nothing when no client can connect any more.
    pub(super) async fn connect(&self, client: impl Fn() -> Socket) -> Option<Socket> {
        poll_fn(|cx| {
            let mut line = self.line();
            if line.shut {
                return Poll::Ready(None);
            }
            if line.inside.len() >= line.backlog {
                line.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            let socket = client();
            line.inside.push_back(socket.clone());
            line.busy_since.get_or_insert_with(clock::now);
            line.report(false);
            Poll::Ready(Some(socket))
        })
        .await
    }

    /// Another process that has it shuts it.
    pub(super) fn shut(&self) {
        let mut line = self.line();
        line.shut = true;
        line.report(true);
        line.waiting.drain(..).for_each(Waker::wake);
    }
}

impl Line {
    /// A client has come, or (to `all`) the end. Of the pollers that watch alone, only the first one that
    /// waits is told (`EPOLLEXCLUSIVE`).
    fn report(&mut self, all: bool) {
        self.watching.retain(|(_, watches)| watches.strong_count() > 0);
        let mut told = false;
        for (alone, watches) in &self.watching {
            let Some(watches) = watches.upgrade() else { continue };
            if *alone && told && !all {
                continue;
            }
            let mut watches = lock(&watches);
            watches.clients = true;
            told |= *alone && watches.waits.is_some();
            watches.wake();
        }
    }
}

impl Queue for Listener {
    type Stream = ServerEnd;

    fn accept(&self) -> rustix::io::Result<ServerEnd> {
        let mut line = self.line();
        let since = clock::now() - line.begun;
        let trouble =
            line.trouble.filter(|trouble| (trouble.begins..trouble.ends).contains(&since));
        if let Some(trouble) = trouble {
            if line.rng.u8(..100) < trouble.often {
                return Err(trouble.error);
            }
        }
        let Some(socket) = line.inside.pop_front() else { return Err(Errno::AGAIN) };
        let accepted = socket.accept(self.server, line.busy_since);
        if line.inside.is_empty() {
            line.busy_since = None;
        }
        line.waiting.drain(..).for_each(Waker::wake);
        Ok(accepted)
    }

    /// A listener whose input is shut is readable for ever.
    fn has_waiting(&self) -> bool {
        let line = self.line();
        line.shut || !line.inside.is_empty()
    }

    fn is_shut(&self) -> bool {
        self.line().shut
    }

    fn close(&self) -> Option<bool> {
        let mut line = self.line();
        line.servers -= 1;
        let is_last = line.servers == 0;
        drop(line);
        if is_last {
            self.shut();
        }
        Some(is_last)
    }
}

/// Closing a listener for the last time resets the clients in its queue.
impl Drop for Line {
    fn drop(&mut self) {
        for socket in self.inside.drain(..) {
            socket.reset_in_queue();
        }
    }
}

/// An epoll without a kernel.
pub(super) struct SimPoller {
    watches: Arc<Mutex<Watches>>,
    /// Wakes it when a socket may have become ready.
    look: Waker,
}

impl SimPoller {
    fn new() -> Self {
        let watches = Arc::<Mutex<Watches>>::default();
        let look = Waker::from(Arc::new(Look(Arc::downgrade(&watches))));
        Self { watches, look }
    }
}

#[derive(Default)]
struct Watches {
    /// By the socket: its number and what is waited for; until it is reported, if that is to be once.
    sockets: BTreeMap<u64, (Socket, u64, Interest)>,
    listener: Option<Weak<Listener>>,
    /// Clients may be there: found out by a look.
    clients: bool,
    workers: Vec<(usize, Weak<Mutex<Watches>>)>,
    /// A poller that reports this one.
    parent: Option<Weak<Mutex<Watches>>>,
    woken: bool,
    waits: Option<Waker>,
    /// How often it has reported, and since when, while time stood still.
    reports: (usize, Option<Instant>),
}

/// Wakes a poller whose socket may have become ready.
struct Look(Weak<Mutex<Watches>>);

impl Wake for Look {
    fn wake(self: Arc<Self>) {
        if let Some(watches) = self.0.upgrade() {
            lock(&watches).wake();
        }
    }
}

fn lock(watches: &Mutex<Watches>) -> MutexGuard<'_, Watches> {
    watches.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watches {
    fn wake(&mut self) {
        if let Some(waker) = self.waits.take() {
            waker.wake();
        }
        if let Some(parent) = self.parent.as_ref().and_then(Weak::upgrade) {
            if let Ok(mut parent) = parent.try_lock() {
                parent.wake();
            }
        }
    }

    fn count_report(&mut self) {
        let (count, since) = self.reports;
        let now = Some(clock::now());
        self.reports = if since == now { (count + 1, now) } else { (0, now) };
        assert!(count < 100_000, "a poller spins");
    }

    fn has_clients(&self) -> bool {
        let listener = self.listener.as_ref().and_then(Weak::upgrade);
        self.clients && listener.is_some_and(|listener| listener.has_waiting())
    }

    fn is_ready(&self) -> bool {
        let ready = |(socket, _, interest): &(Socket, u64, Interest)| socket.is_ready(*interest);
        self.woken || self.has_clients() || self.sockets.values().any(ready)
    }
}

impl SimPoller {
    /// Takes what there is to report.
    fn collect(&self, reported: &mut Vec<Ready>) {
        reported.clear();
        let mut watches = lock(&self.watches);
        if std::mem::take(&mut watches.woken) {
            reported.push(Ready::Woken);
        }
        watches.clients = watches.has_clients();
        if watches.clients {
            reported.push(Ready::Clients);
        }
        let ready = |(_, (socket, _, interest)): &(&u64, &(Socket, u64, Interest))| {
            socket.is_ready(*interest)
        };
        let keys: Vec<_> = watches.sockets.iter().filter(ready).map(|(&key, _)| key).collect();
        for key in keys {
            let Some(&(_, number, interest)) = watches.sockets.get(&key) else { continue };
            reported.push(Ready::Connection(number));
            if interest != Interest::EachRead {
                watches.sockets.remove(&key);
            }
        }
        for (socket, _, _) in watches.sockets.values() {
            socket.wakes(&self.look);
        }
        let theirs = watches.workers.clone();
        drop(watches);
        for (worker, theirs) in theirs {
            if theirs.upgrade().is_some_and(|theirs| lock(&theirs).is_ready()) {
                reported.push(Ready::Worker(worker));
            }
        }
    }

    /// What there is to report; nothing, if there is none within that time.
    pub(super) async fn report(&self, within: Option<Duration>) -> (Vec<Ready>, bool) {
        let until = within.map(|within| clock::now() + within);
        let mut timer = std::pin::pin!(async {
            match until {
                Some(until) => clock::sleep_until(until).await,
                None => std::future::pending().await,
            }
        });
        let (mut reported, mut waited) = (Vec::new(), false);
        poll_fn(|cx| {
            self.collect(&mut reported);
            if !reported.is_empty() || timer.as_mut().poll(cx).is_ready() {
                let mut watches = lock(&self.watches);
                watches.waits = None;
                watches.count_report();
                return Poll::Ready(());
            }
            waited = true;
            lock(&self.watches).waits = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        (reported, waited)
    }
}

impl Poller<Machine> for SimPoller {
    fn watch(
        &self,
        stream: &ServerEnd,
        number: u64,
        interest: Interest,
        _again: bool,
    ) -> io::Result<()> {
        let socket = stream.socket();
        socket.wakes(&self.look);
        let mut watches = lock(&self.watches);
        watches.sockets.insert(socket.key(), (socket, number, interest));
        watches.wake();
        Ok(())
    }

    fn forget(&self, stream: &ServerEnd) {
        lock(&self.watches).sockets.remove(&stream.socket().key());
    }

    fn watch_clients(&self, listener: &Listener, alone: bool) -> io::Result<()> {
        listener.line().watching.push((alone, Arc::downgrade(&self.watches)));
        let mut watches = lock(&self.watches);
        watches.listener = Some(Weak::clone(&listener.this));
        watches.clients = true;
        watches.wake();
        Ok(())
    }

    fn forget_clients(&self, listener: &Listener) {
        let own = Arc::as_ptr(&self.watches);
        listener.line().watching.retain(|(_, watches)| watches.as_ptr() != own);
        lock(&self.watches).clients = false;
    }

    fn watch_worker(&self, poller: &Self, worker: usize) -> io::Result<()> {
        lock(&poller.watches).parent = Some(Arc::downgrade(&self.watches));
        let mut watches = lock(&self.watches);
        watches.workers.push((worker, Arc::downgrade(&poller.watches)));
        watches.wake();
        Ok(())
    }

    fn forget_worker(&self, poller: &Self) {
        lock(&poller.watches).parent = None;
        let theirs = Arc::as_ptr(&poller.watches);
        lock(&self.watches).workers.retain(|(_, watches)| watches.as_ptr() != theirs);
    }

    fn wake(&self) {
        let mut watches = lock(&self.watches);
        watches.woken = true;
        watches.wake();
    }

    fn wait(&self, ready: &mut Vec<Ready>, _within: Option<Duration>) {
        // Only what is there: the tasks of the world wait by `report`.
        self.collect(ready);
    }
}
