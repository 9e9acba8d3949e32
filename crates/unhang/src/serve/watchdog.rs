//! The thread that keeps every deadline. It waits for nobody: it runs no handler, takes no lock that a
//! handler can hold, and does no system call that can wait.
//!
//! It looks after what the workers cannot: connections that are due, workers that are blocked by a handler,
//! the door when there is no place or no descriptor, and the end of the server.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::event::{Cause, Event, Lost, Scarce};
use crate::handler::Handler;
use crate::limits::{ACCEPT_PAUSE, BACKLOG, LAST_CALLS, QUEUE_CHECK, WORKER_CHECK};
use crate::serve::Service;
use crate::serve::config::later;
use crate::serve::door::{Entry, Keeper};
use crate::serve::parked::{Parked, Sight};
use crate::serve::system::{Poller, Queue, Ready, System};

pub(crate) struct Watchdog<H, Y: System> {
    service: Arc<Service<H, Y>>,
    /// Shows that this thread lives.
    pulse: Arc<AtomicUsize>,
    /// The only one that keeps it.
    listener: Option<Arc<Y::Listener>>,
    /// Watches the socket file until the server stops.
    file_watcher: Option<Box<dyn Any + Send>>,
    workers: Vec<Known>,
    look_at_workers: Option<Instant>,
    look_at_queue: Instant,
    watches_clients: bool,
    /// Since when the queue could not be worked off. It is not known how long each client has waited.
    waiting_since: Option<Instant>,
    /// An accept failed: not again before.
    paused_until: Option<Instant>,
    /// It was told that accepting fails, or that the socket was shut.
    told_failing: bool,
    told_shut: bool,
    end: End,
}

/// What is known of a worker.
#[derive(Clone, Copy, Default)]
struct Known {
    last: u64,
    adopted: bool,
}

/// How far the server is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Serving,
    /// No client is to connect any more, unless a successor serves them.
    Closing,
    /// What was accepted, and what is in the queue if that is ours, is worked off.
    Draining {
        calls: u32,
        queue: bool,
    },
}

impl<H: Handler, Y: System> Watchdog<H, Y> {
    pub(crate) fn new(
        service: Arc<Service<H, Y>>,
        listener: Arc<Y::Listener>,
        file_watcher: Option<Box<dyn Any + Send>>,
        pulse: Arc<AtomicUsize>,
    ) -> Self {
        let workers = vec![Known::default(); service.parked.len() - 1];
        let look_at_queue = service.system.now() + QUEUE_CHECK;
        Self {
            service,
            pulse,
            listener: Some(listener),
            file_watcher,
            workers,
            look_at_workers: None,
            look_at_queue,
            watches_clients: false,
            waiting_since: None,
            paused_until: None,
            told_failing: false,
            told_shut: false,
            end: End::Serving,
        }
    }

    /// The thread, until the server has ended.
    pub(crate) fn run(mut self) {
        let service = Arc::clone(&self.service);
        let Some(own) = service.parked.last() else { return };
        let mut ready = Vec::with_capacity(64);
        while let Some(next) = self.turn(&ready) {
            own.poller.wait(&mut ready, Some(next));
        }
    }

    /// Does what is to be done now. How long it may wait then; nothing at the end of the server.
    pub(crate) fn turn(&mut self, ready: &[Ready]) -> Option<Duration> {
        self.service.alarm.awake();
        self.pulse.fetch_add(1, Ordering::Relaxed);
        self.serve_ready(ready);
        self.serve_due();
        let now = self.service.system.now();
        if self.look_at_workers.is_none_or(|at| at <= now) {
            self.look_after_workers(now);
        }
        if self.service.config.stop.begun().is_some() && self.end == End::Serving {
            self.begin_end();
        }
        let door = match self.end {
            End::Serving => self.attend_door(now),
            End::Closing => self.close_door(now),
            End::Draining { .. } => self.drain(now),
        };
        if self.is_over() {
            self.service.end_workers();
            return None;
        }
        Some(self.rest(door))
    }

    fn serve_ready(&mut self, ready: &[Ready]) {
        for ready in ready {
            match *ready {
                Ready::Connection(number) => self.go_on(number),
                Ready::Worker(worker) => {
                    let Some(parked) = self.service.parked.get(worker) else { continue };
                    let mut theirs = Vec::new();
                    parked.poller.wait(&mut theirs, Some(Duration::ZERO));
                    for ready in theirs {
                        if let Ready::Connection(number) = ready {
                            self.go_on(number);
                        }
                    }
                }
                Ready::Clients | Ready::Woken => {}
            }
        }
    }

    fn go_on(&self, number: u64) {
        if let Some(connection) = self.service.take(number) {
            self.service.serve(connection, None);
        }
    }

    fn serve_due(&self) {
        for parked in &self.service.parked {
            while let Some(connection) = parked.take_due(self.service.system.now()) {
                self.service.serve(connection, None);
            }
        }
        if self.service.config.stop.is_over(self.service.system.now()) {
            for parked in &self.service.parked {
                while let Some(connection) = parked.take_any() {
                    self.service.serve(connection, None);
                }
            }
        }
    }

    fn look_after_workers(&mut self, now: Instant) {
        let service = Arc::clone(&self.service);
        // Before the look: a worker that goes to work from now on says so.
        service.alarm.looks_away();
        let workers = &service.parked[..self.workers.len()];
        let mut blocked = 0;
        for (worker, parked) in workers.iter().enumerate() {
            let sight = parked.slot.look(&mut self.workers[worker].last);
            if sight == Sight::Blocked {
                blocked += 1;
                // After all threads were stopped the clock alone says nothing; but this worker was seen at
                // the same handler before.
                if parked.slot.due(&service.config).is_some_and(|due| due <= now) {
                    if let Some(connection) = parked.slot.take() {
                        service.serve(connection, None);
                    }
                }
            }
            self.adopt(worker, sight == Sight::Blocked);
        }
        if blocked > 0 && service.door.keeper() == Keeper::Workers {
            if blocked == workers.len() {
                service.door.leave_to_watchdog();
            } else if service.door.has_waiting() {
                // The kernel may have woken only one that is blocked now.
                self.service.wake_workers();
            }
        }
        let at_work = workers.iter().any(Parked::is_at_work);
        self.look_at_workers = at_work.then(|| {
            service.alarm.looks();
            now + WORKER_CHECK
        });
    }

    /// Waits in the place of a worker that is blocked, until it is back.
    fn adopt(&mut self, worker: usize, blocked: bool) {
        if self.workers[worker].adopted == blocked {
            return;
        }
        let (Some(own), parked) = (self.service.parked.last(), &self.service.parked[worker]) else {
            return;
        };
        self.workers[worker].adopted = blocked;
        if blocked {
            if let Some(listener) = &self.listener {
                // Clients are for threads that can accept them.
                parked.poller.forget_clients(listener);
            }
            self.workers[worker].adopted = own.poller.watch_worker(&parked.poller, worker).is_ok();
        } else {
            own.poller.forget_worker(&parked.poller);
            parked.is_given_back();
        }
    }

    /// Looks after the door while the workers cannot. When to look again.
    fn attend_door(&mut self, now: Instant) -> Option<Instant> {
        if self.service.door.keeper() == Keeper::Workers {
            return Some(self.check_queue(now));
        }
        let next = self.accept(now);
        if next == Attended::Empty && self.workers_can_accept() {
            self.watch_clients(false);
            self.service.door.give_to(Keeper::Workers);
            self.service.wake_workers();
            return Some(self.check_queue(now));
        }
        match next {
            Attended::Empty => {
                self.watch_clients(true);
                None
            }
            Attended::Later(at) => {
                self.watch_clients(false);
                at
            }
        }
    }

    /// Clients may be left in the queue while all workers rest: another process that shares the listener,
    /// an old server or a child that has inherited it, may have been woken for them and have died.
    fn check_queue(&mut self, now: Instant) -> Instant {
        if now >= self.look_at_queue {
            self.look_at_queue = now + QUEUE_CHECK;
            let at_work = self.service.parked.iter().any(Parked::is_at_work);
            if !at_work && self.service.door.has_waiting() {
                self.service.wake_workers();
            }
        }
        self.look_at_queue
    }

    /// Not while they would soon be in trouble again.
    fn workers_can_accept(&self) -> bool {
        let workers = &self.service.parked[..self.workers.len()];
        let places = &self.service.door.places;
        let enough = workers.len().min(places.most / 2).max(1);
        workers.iter().any(|parked| !parked.slot.is_blocked())
            && places.left() >= enough
            // If accepting fails, a worker would find out no more than that.
            && !self.told_failing
            && self.paused_until.is_none()
            && !self.told_shut
    }

    fn watch_clients(&mut self, watch: bool) {
        let (Some(own), Some(listener)) = (self.service.parked.last(), &self.listener) else {
            return;
        };
        if watch == self.watches_clients {
            return;
        }
        if watch {
            self.watches_clients = own.poller.watch_clients(listener, false).is_ok();
            if !self.watches_clients {
                self.paused_until = Some(self.service.system.now() + ACCEPT_PAUSE);
            }
        } else {
            own.poller.forget_clients(listener);
            self.watches_clients = false;
        }
    }

    /// Accepts until the queue is empty, or the next client has to wait.
    fn accept(&mut self, now: Instant) -> Attended {
        if self.paused_until.is_some_and(|until| until > now) {
            return Attended::Later(self.paused_until);
        }
        self.paused_until = None;
        // As many as the longest queue holds: clients that come after that are not to keep this thread.
        for _ in 0..=BACKLOG {
            match self.service.door.next() {
                Entry::Client(stream, place) => {
                    self.told_failing = false;
                    self.service.let_in(stream, place, None);
                }
                Entry::Nobody => {
                    self.waiting_since = None;
                    return Attended::Empty;
                }
                Entry::Full => {
                    self.service.door.places.want();
                    // One may have come free before that was known.
                    if self.service.door.places.left() == 0 {
                        return self.be_patient(now);
                    }
                }
                Entry::Starved(error) => {
                    if let Some(attended) = self.starve(error, now) {
                        return attended;
                    }
                }
                Entry::Shut => {
                    if !std::mem::replace(&mut self.told_shut, true) && self.end == End::Serving {
                        self.service.tell(Event::SocketLost(Lost::Shut));
                    }
                    return Attended::Later(None);
                }
            }
        }
        Attended::Later(Some(now))
    }

    /// No place is free. Clients may wait for one, but not for long.
    fn be_patient(&mut self, now: Instant) -> Attended {
        let limits = &self.service.config.limits;
        let since = *self.waiting_since.get_or_insert(now);
        let late = later(since, limits.queue);
        if now < late {
            return Attended::Later(Some(late));
        }
        let most = self.service.door.places.most;
        let nobody = self.turn_all_away(|| Cause::Busy(Scarce::Places { most }));
        if nobody {
            self.waiting_since = None;
            // One that is shut looks as if a client waited, for ever.
            if !self.service.door.is_shut() {
                return Attended::Empty;
            }
        }
        Attended::Later(Some(now + ACCEPT_PAUSE))
    }

    /// A client cannot be accepted. None if the next one can be tried at once.
    fn starve(&mut self, error: Errno, now: Instant) -> Option<Attended> {
        if matches!(error, Errno::MFILE | Errno::NFILE) && self.retire_one() {
            return None;
        }
        if !std::mem::replace(&mut self.told_failing, true) {
            self.service.tell(Event::AcceptFailed(Arc::new(error.into())));
        }
        let refused = match matches!(error, Errno::MFILE | Errno::NFILE) {
            true => self.service.door.next_to_refuse(),
            false => Err(error),
        };
        match refused {
            Ok(Some(stream)) => {
                self.service.turn_away(stream, Cause::Busy(Scarce::Descriptors));
                None
            }
            // With no descriptor left an empty queue gives that error, too.
            Ok(None) => {
                self.waiting_since = None;
                Some(Attended::Empty)
            }
            Err(_) => {
                self.paused_until = Some(now + ACCEPT_PAUSE);
                Some(Attended::Later(self.paused_until))
            }
        }
    }

    /// Ends the connection that has been kept longest without a request, to have its descriptor.
    fn retire_one(&self) -> bool {
        let oldest = self.service.parked.iter().find_map(|parked| parked.resting(1).pop());
        let Some(mut connection) = oldest.and_then(|number| self.service.take(number)) else {
            return false;
        };
        connection.retires(self.service.system.now());
        self.service.serve(connection, None);
        true
    }

    /// Tells all clients in the accept queue why they are not served. In one go, though that may take some
    /// milliseconds: clients that come meanwhile have not waited yet, and are not to be told so. Whether
    /// nobody is left.
    fn turn_all_away(&self, cause: impl Fn() -> Cause) -> bool {
        for _ in 0..=BACKLOG {
            match self.service.door.next_to_refuse() {
                Ok(Some(stream)) => self.service.turn_away(stream, cause()),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    fn begin_end(&mut self) {
        self.end = End::Closing;
        // First: what is removed and shut now is not lost.
        self.file_watcher = None;
        self.service.door.give_to(Keeper::Watchdog);
        self.watch_clients(false);
        self.service.wake_workers();
        for parked in &self.service.parked {
            for number in parked.resting(usize::MAX) {
                self.go_on(number);
            }
        }
    }

    /// A successor that has asked, and not said that it serves, may keep this server here for seconds.
    fn close_door(&mut self, now: Instant) -> Option<Instant> {
        let ours = self.listener.as_ref().map_or(Some(false), |listener| listener.close());
        let Some(ours) = ours else {
            if self.service.config.stop.is_over(now) {
                self.turn_all_away(|| Cause::Stopping);
                self.watch_clients(false);
                return Some(now + ACCEPT_PAUSE);
            }
            let attended = self.accept(now);
            self.watch_clients(attended == Attended::Empty);
            let next = if let Attended::Later(next) = attended { next } else { None };
            return next.into_iter().chain([now + ACCEPT_PAUSE]).min();
        };
        self.watch_clients(false);
        let open = self.service.door.places.taken();
        let within = self.service.config.limits.drain;
        self.service.tell(Event::Draining { open, within });
        if !ours {
            // Clients for which the kernel has woken a worker of this server, and nobody else.
            self.take_along();
            // It is another's alone now. Kept open until the drain is over, it would outlive that
            // other if it is killed: clients would enter a queue that nobody serves, and the lock
            // would keep the next start out.
            self.listener = None;
        }
        self.end = End::Draining { calls: LAST_CALLS, queue: ours };
        self.drain(now)
    }

    /// Accepts clients in a queue that is, or may be, another's from now on, without a wait. For each the
    /// kernel may have woken a worker of this server, and then it wakes nobody else.
    fn take_along(&self) {
        for _ in 0..=BACKLOG {
            match self.service.door.next() {
                Entry::Client(stream, place) => self.service.let_in(stream, place, None),
                _ => return,
            }
        }
    }

    fn drain(&mut self, now: Instant) -> Option<Instant> {
        let next = self.work_off(now);
        // To be woken when the last connection ends.
        self.service.door.places.want();
        next
    }

    /// Works off the accept queue, if that is this server's.
    fn work_off(&mut self, now: Instant) -> Option<Instant> {
        let End::Draining { calls, queue: true } = self.end else { return None };
        let (next, empty) = if self.service.config.stop.is_over(now) {
            // For a second, as closing the socket would reset them.
            let empty = self.turn_all_away(|| Cause::Stopping) || calls == 0;
            (Some(now + ACCEPT_PAUSE), empty)
        } else {
            match self.accept(now) {
                Attended::Empty | Attended::Later(None) => (None, true),
                Attended::Later(next) => (next, false),
            }
        };
        let calls = calls.saturating_sub(u32::from(self.service.config.stop.is_over(now)));
        self.end = End::Draining { calls, queue: !empty };
        next.filter(|_| !empty)
    }

    fn is_over(&self) -> bool {
        matches!(self.end, End::Draining { queue: false, .. })
            && self.service.door.places.all_left()
    }

    /// How long this thread may wait.
    fn rest(&self, door: Option<Instant>) -> Duration {
        let stop = &self.service.config.stop;
        loop {
            let due = self.service.parked.iter().filter_map(Parked::first_due);
            let end = stop.end().filter(|_| !self.service.door.places.all_left());
            let next = due.chain(door).chain(end).chain(self.look_at_workers).min();
            self.service.alarm.set(next);
            // A connection that was parked meanwhile found this thread awake.
            let due = self.service.parked.iter().filter_map(Parked::first_due).min();
            if due.is_none_or(|due| next.is_some_and(|next| next <= due)) {
                let now = self.service.system.now();
                let within = next.map(|next| next.saturating_duration_since(now));
                return within.unwrap_or(QUEUE_CHECK).min(QUEUE_CHECK);
            }
        }
    }
}

/// What came of attending the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attended {
    /// Nobody waits.
    Empty,
    /// To be looked at again then, or never.
    Later(Option<Instant>),
}
