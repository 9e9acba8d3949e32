//! The end of the server: no client is let in any more, and what was accepted is finished.

use std::time::Instant;

use super::{Attended, End, Watchdog};
use crate::event::{Cause, Event};
use crate::handler::Handler;
use crate::limits::{ACCEPT_PAUSE, BACKLOG, LAST_CALLS};
use crate::serve::door::{Acceptor, Entry};
use crate::serve::system::{Poller, Queue, System};

impl<H: Handler, Y: System> Watchdog<H, Y> {
    pub(super) fn begin_end(&mut self) {
        self.end = End::Closing;
        // First: what is removed and shut now is not lost.
        self.file_watcher = None;
        self.service.door.give_to(Acceptor::Watchdog);
        self.watch_clients(false);
        self.service.wake_workers();
        for parked in &self.service.parked {
            for number in parked.resting() {
                self.go_on(number);
            }
        }
    }

    /// A successor that has asked, and not said that it serves, may keep this server here for seconds.
    pub(super) fn close_door(&mut self, now: Instant) -> Option<Instant> {
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
            // A worker that a handler blocks cannot do so itself, and its poller would report the other
            // server's clients to this thread without end.
            if let Some(listener) = &self.listener {
                for parked in &self.service.parked[..self.workers.len()] {
                    parked.poller.forget_clients(listener);
                }
            }
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
    pub(super) fn take_along(&self) {
        for _ in 0..=BACKLOG {
            match self.service.door.next() {
                Entry::Client(stream, place) => {
                    self.service.let_in(stream, place, None, self.service.system.now());
                }
                _ => return,
            }
        }
    }

    pub(super) fn drain(&mut self, now: Instant) -> Option<Instant> {
        let next = self.work_off(now);
        // To be woken when the last connection ends.
        self.service.door.places.want();
        next
    }

    /// Works off the accept queue, if that is this server's.
    pub(super) fn work_off(&mut self, now: Instant) -> Option<Instant> {
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

    pub(super) fn is_over(&self) -> bool {
        matches!(self.end, End::Draining { queue: false, .. })
            && self.service.door.places.all_left()
    }
}
