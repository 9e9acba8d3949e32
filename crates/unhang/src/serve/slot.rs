//! A worker's connection while its handler is polled: for the watchdog to take if that blocks.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::serve::config::Config;
use crate::serve::connection::Connection;
use crate::serve::stream::Stream;

/// Where a worker's connection lies while its handler is polled on the worker's thread. It is not on that
/// thread's stack, so that the watchdog can take it from a worker that a handler blocks.
pub(crate) struct Slot<S> {
    state: Mutex<State<S>>,
    /// How often a connection was put here.
    entered: AtomicU64,
    /// The watchdog has seen the same connection here twice.
    blocked: AtomicBool,
}

#[derive(Default)]
enum State<S> {
    #[default]
    Empty,
    Inside(Box<Connection<S>>),
    /// The worker is blocked, and its connection was taken from it.
    Taken,
}

impl<S> Default for Slot<S> {
    fn default() -> Self {
        let (entered, blocked) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { state: Mutex::default(), entered, blocked }
    }
}

impl<S: Stream> Slot<S> {
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, connection: Box<Connection<S>>) {
        // No other thread writes it.
        self.entered.store(self.entered.load(Ordering::Relaxed) + 1, Ordering::Release);
        *self.lock() = State::Inside(connection);
    }

    /// The connection, unless the watchdog took it; and whether the worker was taken for blocked.
    pub(crate) fn leave(&self) -> (Option<Box<Connection<S>>>, bool) {
        let mut state = self.lock();
        let connection = match std::mem::take(&mut *state) {
            State::Inside(connection) => Some(connection),
            State::Empty | State::Taken => None,
        };
        // The watchdog writes it under the lock.
        let was_blocked = self.blocked.load(Ordering::Relaxed);
        if was_blocked {
            self.blocked.store(false, Ordering::SeqCst);
        }
        (connection, was_blocked)
    }

    /// Whether its worker still polls the handler that it polled at the last look. The watchdog must not wait for
    /// a worker that has the lock and does not run just now: such a worker moves.
    pub(crate) fn stays(&self, last: &mut u64) -> bool {
        let Ok(state) = self.state.try_lock() else { return false };
        let entered = self.entered.load(Ordering::SeqCst);
        let same = std::mem::replace(last, entered) == entered;
        let blocked = same && !matches!(*state, State::Empty);
        self.blocked.store(blocked, Ordering::SeqCst);
        blocked
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::SeqCst)
    }

    /// When the connection of a blocked worker is due.
    pub(crate) fn due(&self, config: &Config) -> Option<Instant> {
        match &*self.state.try_lock().ok()? {
            State::Inside(connection) => Some(connection.due(config)),
            State::Empty | State::Taken => None,
        }
    }

    /// Looks at the connection of a worker that polls a handler. One that has the lock moves.
    pub(crate) fn look_at(&self, look: impl FnOnce(&mut Connection<S>)) {
        if let Ok(State::Inside(connection)) = self.state.try_lock().as_deref_mut() {
            look(connection);
        }
    }

    /// What `unhang why` is told of that connection, see [`Connection::state`].
    pub(crate) fn blocked(
        &self,
        config: &Config,
    ) -> Option<(RawFd, &'static str, Instant, Instant)> {
        match &*self.lock() {
            State::Inside(connection) if self.is_blocked() => connection.state(config),
            State::Inside(_) | State::Empty | State::Taken => None,
        }
    }

    /// Takes the connection of a blocked worker.
    pub(crate) fn take(&self) -> Option<Box<Connection<S>>> {
        let mut state = self.state.try_lock().ok()?;
        match std::mem::take(&mut *state) {
            State::Inside(connection) => {
                *state = State::Taken;
                Some(connection)
            }
            other => {
                *state = other;
                None
            }
        }
    }
}
