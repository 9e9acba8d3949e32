//! The thread that keeps every deadline. It waits for nobody: it runs no handler, takes no lock that a
//! handler can hold, and does no system call that can wait.
//!
//! It looks after what the workers cannot: connections that are due, workers that are blocked by a handler,
//! the door when there is no place or no descriptor, and the end of the server.

mod door;
mod end;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::handler::Handler;
use crate::limits::{QUEUE_CHECK, WORKER_CHECK};
use crate::serve::Service;
use crate::serve::door::Acceptor;
use crate::serve::parked::Parked;
use crate::serve::system::{Poller, Ready, System};

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
                            self.leave_to_another(number);
                        }
                    }
                }
                Ready::Clients | Ready::Woken => {}
            }
        }
    }

    fn go_on(&self, number: u64) {
        if let Some(connection) = self.service.take(number) {
            self.service.serve(connection, None, self.service.system.now());
        }
    }

    /// A connection that its worker, which is blocked, does not look at. One that is kept goes to a worker
    /// that is not: the next handler that blocks is seen there, too.
    fn leave_to_another(&self, number: u64) {
        let Some(connection) = self.service.take_reported(number) else { return };
        let workers = &self.service.parked[..self.workers.len()];
        // One that is back, and still looked after by this thread, would have it reported here once more.
        let able = |worker: &usize| !self.workers[*worker].adopted;
        let is_free = |&worker: &usize| !workers[worker].slot.is_blocked();
        let free = || (0..workers.len()).filter(able).find(is_free);
        match self.service.idle_worker().filter(able).or_else(free) {
            Some(worker) if connection.is_idle() => self.service.hand_over(connection, worker),
            _ => self.service.serve(connection, None, self.service.system.now()),
        }
    }

    fn serve_due(&self) {
        for parked in &self.service.parked {
            while let Some(connection) =
                parked.take_due(&self.service.config, self.service.system.now())
            {
                self.service.serve(connection, None, self.service.system.now());
            }
        }
        if self.service.config.stop.is_over(self.service.system.now()) {
            for parked in &self.service.parked {
                while let Some(connection) = parked.take_any() {
                    self.service.serve(connection, None, self.service.system.now());
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
            let is_blocked = parked.slot.stays(&mut self.workers[worker].last);
            if is_blocked {
                blocked += 1;
                // After all threads were stopped the clock alone says nothing; but this worker was seen at
                // the same handler before.
                if parked.slot.due(&service.config).is_some_and(|due| due <= now) {
                    if let Some(connection) = parked.slot.take() {
                        service.serve(connection, None, now);
                    }
                }
            }
            self.adopt(worker, is_blocked);
        }
        if blocked > 0 && service.door.acceptor() == Acceptor::Workers {
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
            for number in parked.was_told() {
                self.leave_to_another(number);
            }
        } else {
            own.poller.forget_worker(&parked.poller);
            parked.is_given_back();
        }
    }

    /// How long this thread may wait.
    fn rest(&self, door: Option<Instant>) -> Duration {
        let (stop, now) = (&self.service.config.stop, self.service.system.now());
        loop {
            let due = self.service.parked.iter().filter_map(Parked::first_due);
            // Past it, what is left lies with workers that handlers block, and is taken from them at a look.
            let end = stop.end().filter(|&end| end > now && !self.service.door.places.all_left());
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
