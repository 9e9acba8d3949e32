//! A thread that accepts and serves: each connection is stepped once, and what has to wait is parked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::handler::Handler;
use crate::limits::BURST;
use crate::serve::Service;
use crate::serve::door::{Acceptor, Entry};
use crate::serve::parked::Parked;
use crate::serve::system::{Poller, Ready, System};

/// A wait that was over sooner had not begun: there was something to report already.
pub(crate) const NO_WAIT: Duration = Duration::from_micros(3);

pub(crate) struct Worker<H, Y: System> {
    service: Arc<Service<H, Y>>,
    index: usize,
    /// Whether its poller reports clients.
    watches_clients: bool,
    /// How many clients it accepts at once. An accept that finds none costs more than one that finds one,
    /// so it tries for one after a wait, and for more the longer there was no wait.
    burst: u32,
    /// So many turns in a row it had several connections to serve.
    pressed: u32,
}

/// After so many such turns it hands connections over. Each costs two system calls, once; a burst that one
/// worker gets over is not worth them.
const PRESSED: u32 = 16;

impl<H: Handler, Y: System> Worker<H, Y> {
    pub(crate) fn new(service: Arc<Service<H, Y>>, index: usize) -> Self {
        Self { service, index, watches_clients: false, burst: 1, pressed: 0 }
    }

    /// The thread, until the server ends.
    pub(crate) fn run(mut self) {
        let mut ready = Vec::with_capacity(64);
        while self.prepare() {
            let begun = self.service.system.now();
            self.parked().poller.wait(&mut ready, None);
            let now = self.service.system.now();
            self.turn(&ready, now - begun > NO_WAIT, now);
        }
    }

    fn parked(&self) -> &Parked<Y> {
        &self.service.parked[self.index]
    }

    /// Before each wait: has its poller report clients if it is to accept. False at the end of the server.
    pub(crate) fn prepare(&mut self) -> bool {
        let parked = &self.service.parked[self.index];
        parked.rests();
        let acceptor = self.service.door.acceptor();
        let accepts = acceptor == Acceptor::Workers;
        if accepts == self.watches_clients && !parked.was_adopted() {
            return acceptor != Acceptor::Nobody;
        }
        let was_watching = std::mem::take(&mut self.watches_clients);
        // Without a listener there is none to watch; connections that are parked here are still served.
        if let Some(listener) = self.service.door.listener() {
            if was_watching {
                parked.poller.forget_clients(&listener);
            }
            self.watches_clients = accepts && parked.poller.watch_clients(&listener, true).is_ok();
            if accepts && !self.watches_clients && self.service.door.leave_to_watchdog() {
                self.service.wake_watchdog();
            }
        }
        acceptor != Acceptor::Nobody
    }

    /// Serves what is ready. `waited`: it had to wait for it.
    pub(crate) fn turn(&mut self, ready: &[Ready], waited: bool, now: Instant) {
        // For the first that is served. Then time has passed.
        let mut now = Some(now);
        self.service.goes_to_work(self.index);
        self.burst = if waited { 1 } else { BURST.min(2 * self.burst) };
        self.parked().is_told(ready);
        let idle = self.relief(ready);
        for (nth, ready) in ready.iter().enumerate() {
            match *ready {
                Ready::Connection(number) => {
                    let Some(connection) = self.parked().take(number) else { continue };
                    match idle {
                        Some(idle) if nth % 2 == 1 && connection.is_idle() => {
                            self.service.hand_over(connection, idle);
                        }
                        _ => {
                            let now = now.take().unwrap_or_else(|| self.service.system.now());
                            self.service.serve(connection, Some(self.index), now);
                        }
                    }
                }
                // Woken, it looks as well: the kernel may have woken another thread for a client, and then
                // does not report it here.
                Ready::Clients | Ready::Woken => self.accept(&mut now),
                Ready::Worker(_) => {}
            }
        }
    }

    /// A worker that rests, for half of the kept connections that are ready, if several have been each time
    /// for a while. Clients stay with the worker that has accepted them, and that may have been one for all.
    fn relief(&mut self, ready: &[Ready]) -> Option<usize> {
        self.pressed = if ready.len() < 2 { 0 } else { self.pressed + 1 };
        if self.pressed < PRESSED {
            return None;
        }
        self.pressed = 0;
        self.service.idle_worker()
    }

    fn accept(&self, now: &mut Option<Instant>) {
        for _ in 0..self.burst {
            if self.service.door.acceptor() != Acceptor::Workers {
                return;
            }
            match self.service.door.next() {
                Entry::Client(stream, place) => {
                    let now = now.take().unwrap_or_else(|| self.service.system.now());
                    self.service.let_in(stream, place, Some(self.index), now);
                }
                Entry::Nobody => return,
                Entry::Full | Entry::Starved(_) | Entry::Shut => {
                    if self.service.door.leave_to_watchdog() {
                        self.service.wake_watchdog();
                    }
                    return;
                }
            }
        }
    }
}
