//! The watchdog at the door: while no worker can accept, for want of a place, a descriptor or a thread that
//! no handler blocks.

use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;

use super::{Attended, End, Watchdog};
use crate::event::{Cause, Event, Lost, Scarce};
use crate::handler::Handler;
use crate::limits::{ACCEPT_PAUSE, BACKLOG, QUEUE_CHECK};
use crate::serve::config::later;
use crate::serve::door::{Acceptor, Entry};
use crate::serve::parked::Parked;
use crate::serve::system::{Poller, System};

impl<H: Handler, Y: System> Watchdog<H, Y> {
    /// Looks after the door while the workers cannot. When to look again.
    pub(super) fn attend_door(&mut self, now: Instant) -> Option<Instant> {
        if self.service.door.acceptor() == Acceptor::Workers {
            return Some(self.check_queue(now));
        }
        let next = self.accept(now);
        if next == Attended::Empty && self.workers_can_accept() {
            self.watch_clients(false);
            self.service.door.give_to(Acceptor::Workers);
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
    pub(super) fn check_queue(&mut self, now: Instant) -> Instant {
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
    pub(super) fn workers_can_accept(&self) -> bool {
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

    pub(super) fn watch_clients(&mut self, watch: bool) {
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
    pub(super) fn accept(&mut self, now: Instant) -> Attended {
        if self.paused_until.is_some_and(|until| until > now) {
            return Attended::Later(self.paused_until);
        }
        self.paused_until = None;
        // As many as the longest queue holds: clients that come after that are not to keep this thread.
        for _ in 0..=BACKLOG {
            match self.service.door.next() {
                Entry::Client(stream, place) => {
                    self.told_failing = false;
                    self.service.let_in(stream, place, None, self.service.system.now());
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
    pub(super) fn be_patient(&mut self, now: Instant) -> Attended {
        let limits = &self.service.config.limits;
        let since = *self.waiting_since.get_or_insert(now);
        let late = later(since, limits.queue);
        if now < late {
            return Attended::Later(Some(late));
        }
        let places = &self.service.door.places;
        let busy = || Cause::Busy(Scarce::Places { most: places.most });
        // A place that comes free meanwhile is for the next client: it may have come just now.
        let nobody = self.turn_away_while(|| places.left() == 0, busy);
        if places.left() > 0 {
            self.waiting_since = None;
            return Attended::Later(Some(now));
        }
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
    pub(super) fn starve(&mut self, error: Errno, now: Instant) -> Option<Attended> {
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
    pub(super) fn retire_one(&self) -> bool {
        let config = &self.service.config;
        let oldest = self.service.parked.iter().find_map(|parked| parked.rests_longest(config));
        let Some(mut connection) = oldest.and_then(|number| self.service.take(number)) else {
            return false;
        };
        let now = self.service.system.now();
        connection.retires(now);
        self.service.serve(connection, None, now);
        true
    }

    /// Tells all clients in the accept queue why they are not served. In one go, though that may take some
    /// milliseconds: clients that come meanwhile have not waited yet, and are not to be told so. Whether
    /// nobody is left.
    pub(super) fn turn_all_away(&self, cause: impl Fn() -> Cause) -> bool {
        self.turn_away_while(|| true, cause)
    }

    fn turn_away_while(&self, goes_on: impl Fn() -> bool, cause: impl Fn() -> Cause) -> bool {
        for _ in 0..=BACKLOG {
            if !goes_on() {
                return false;
            }
            match self.service.door.next_to_refuse() {
                Ok(Some(stream)) => self.service.turn_away(stream, cause()),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        true
    }
}
