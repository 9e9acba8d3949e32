//! The accept queue of the world: what the kernel would hold, with its errors and its edges.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use fastrand::Rng;
use rustix::io::Errno;
use tokio::time::Instant;

use crate::queue::Queue;

use super::World;
use super::plan::ClientPlan;
use super::wire::{ServerEnd, Wire};

pub(super) struct Lobby(Mutex<State>);

struct State {
    inside: VecDeque<Wire>,
    open: bool,
    backlog: usize,
    /// Since when it has not been empty.
    busy_since: Option<Instant>,
    /// Whether something has come that the accept loop was not yet woken for.
    news: bool,
    waiting: Vec<Waker>,
    rng: Rng,
    /// How often it was asked, and since when, while time stood still.
    asked: (usize, Instant),
}

/// The server's side of it. Dropping the server's own resets who is still inside, as closing a
/// listener does.
pub(super) struct Door {
    world: Arc<World>,
    /// A shard's is only lent.
    own: bool,
}

impl Door {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, own: true }
    }

    pub(super) fn shared(world: Arc<World>) -> Self {
        Self { world, own: false }
    }
}

impl Lobby {
    pub(super) fn new(backlog: usize, seed: u64) -> Self {
        Self(Mutex::new(State {
            inside: VecDeque::new(),
            open: true,
            backlog,
            busy_since: None,
            news: false,
            waiting: Vec::new(),
            rng: Rng::with_seed(seed),
            asked: (0, Instant::now()),
        }))
    }

    /// Waits until somebody is inside.
    pub(super) async fn somebody(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.inside.is_empty() {
                state.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Who finds the loop spinning panics in here, and the rest of the world is taken down after.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room in the queue; nothing when the server is gone.
    pub(super) async fn connect(&self, plan: &ClientPlan) -> Option<Wire> {
        poll_fn(|cx| {
            let mut state = self.state();
            if !state.open {
                return Poll::Ready(None);
            }
            if state.inside.len() >= state.backlog {
                state.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            let wire = Wire::new(plan.peer, plan.room, plan.trap);
            state.inside.push_back(wire.clone());
            state.busy_since.get_or_insert_with(Instant::now);
            state.news = true;
            state.wake();
            Poll::Ready(Some(wire))
        })
        .await
    }
}

impl State {
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// A loop that asks again and again without a wait would never let time go on.
    fn ask(&mut self) {
        let now = Instant::now();
        self.asked = if self.asked.1 == now { (self.asked.0 + 1, now) } else { (0, now) };
        assert!(self.asked.0 < 100_000, "the accept loop spins");
    }
}

impl Queue for Door {
    type Connection = ServerEnd;

    fn accept(&self) -> rustix::io::Result<ServerEnd> {
        let mut state = self.world.lobby.state();
        state.ask();
        if let Some(trouble) = self.world.plan.trouble.filter(|_| self.world.in_trouble()) {
            if state.rng.u8(..100) < trouble.often {
                return Err(trouble.error);
            }
        }
        let Some(wire) = state.inside.pop_front() else { return Err(Errno::AGAIN) };
        let connection = wire.accept(state.busy_since);
        if state.inside.is_empty() {
            state.busy_since = None;
        }
        state.wake();
        Ok(connection)
    }

    /// A listener whose input is shut off is readable for ever.
    fn has_waiting(&self) -> bool {
        let mut state = self.world.lobby.state();
        state.ask();
        !state.open || !state.inside.is_empty()
    }

    fn is_shut(&self) -> bool {
        !self.world.lobby.state().open
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            let mut state = self.world.lobby.state();
            state.ask();
            if !state.open || std::mem::take(&mut state.news) {
                return Poll::Ready(());
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn rest(&self) {}

    async fn close_door(&self) -> bool {
        let mut state = self.world.lobby.state();
        state.open = false;
        state.wake();
        true
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if !self.own {
            return;
        }
        for wire in self.world.lobby.state().inside.drain(..) {
            wire.reset_in_queue();
        }
    }
}
