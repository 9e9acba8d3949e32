//! Which workers are idle, and which requests wait for one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::worker::{Life, Worker};
use crate::backend::notice::{Notice, Notices};

/// The workers that can be had.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    /// True once all are to end.
    pub(super) closing: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// The one used last is at the end, and is used next: what it needs is still in the processor's
    /// caches.
    idle: Vec<Worker>,
    waiting: VecDeque<oneshot::Sender<Worker>>,
    /// Workers that run or are being started, and not those that are left alone for a while as they
    /// die again and again.
    alive: usize,
    /// Of these, those that are not through with their start.
    starting: usize,
    closing: bool,
    /// Every task that has to do with a process holds one: the last of them ends with the last process.
    tasks: Option<mpsc::Sender<()>>,
}

/// How many workers there are, by what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerCounts {
    /// They wait for a request.
    pub idle: usize,
    /// They have one.
    pub busy: usize,
    /// They are not through with their start.
    pub starting: usize,
    /// Left alone for a while, as they die again and again.
    pub dead: usize,
}

/// Why no worker can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoWorker {
    AllDead,
    AllBusy,
    Stopping,
}

impl Pool {
    pub(super) fn new() -> (Self, mpsc::Receiver<()>) {
        let (tasks, ended) = mpsc::channel(1);
        let state = State { tasks: Some(tasks), ..State::default() };
        (Self { state: Mutex::new(state), closing: watch::Sender::new(false) }, ended)
    }

    /// The next idle worker: first come, first served, and for so long at most.
    pub(super) async fn take(
        &self,
        patience: Duration,
        notices: &Notices,
    ) -> Result<Worker, NoWorker> {
        let given = {
            let mut state = self.state();
            if state.closing {
                return Err(NoWorker::Stopping);
            }
            if let Some(worker) = state.idle.pop() {
                return Ok(worker);
            }
            if state.alive == 0 {
                return Err(NoWorker::AllDead);
            }
            let (give, given) = oneshot::channel();
            // The senders of those that gave up meanwhile would pile up while no worker comes free.
            state.waiting.retain(|waiting| !waiting.is_closed());
            state.waiting.push_back(give);
            given
        };
        let begun = Instant::now();
        let given = timeout(patience, given).await;
        notices.tell(Notice::Waited { waited: begun.elapsed() });
        match given {
            Ok(Ok(worker)) => Ok(worker),
            Ok(Err(_)) if *self.closing.borrow() => Err(NoWorker::Stopping),
            Ok(Err(_)) => Err(NoWorker::AllDead),
            Err(_) => Err(NoWorker::AllBusy),
        }
    }

    /// A worker that can answer. One that has been retired, or has ended, is dropped: at the end of its
    /// input it ends.
    pub(super) fn put(&self, mut worker: Worker) {
        let mut state = self.state();
        if state.closing || worker.life.is_over() {
            return;
        }
        while let Some(waiting) = state.waiting.pop_front() {
            match waiting.send(worker) {
                Ok(()) => return,
                // The request that waited has given up.
                Err(back) => worker = back,
            }
        }
        state.idle.push(worker);
    }

    /// Nobody gets this worker any more.
    pub(super) fn forget(&self, life: &Arc<Life>) {
        life.is_over.store(true, std::sync::atomic::Ordering::Release);
        self.state().idle.retain(|worker| !Arc::ptr_eq(&worker.life, life));
    }

    pub(super) fn one_more_alive(&self) {
        self.state().alive += 1;
    }

    /// A worker that is left alone for a while. With the last of them, nobody waits any longer.
    pub(super) fn one_less_alive(&self) {
        let mut state = self.state();
        state.alive -= 1;
        if state.alive == 0 {
            state.waiting.clear();
        }
    }

    pub(super) fn starts(&self) {
        self.state().starting += 1;
    }

    pub(super) fn has_started(&self) {
        self.state().starting -= 1;
    }

    /// Of so many workers.
    pub(super) fn counts(&self, all: usize) -> WorkerCounts {
        let state = self.state();
        let (idle, starting) = (state.idle.len(), state.starting);
        let busy = state.alive.saturating_sub(idle + starting);
        WorkerCounts { idle, busy, starting, dead: all.saturating_sub(state.alive) }
    }

    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.iter().filter(|waiting| !waiting.is_closed()).count()
    }

    /// For a task that has to do with a process; none once all are to end.
    pub(super) fn task(&self) -> Option<mpsc::Sender<()>> {
        self.state().tasks.clone()
    }

    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        state.idle.clear();
        state.waiting.clear();
        state.tasks = None;
        drop(state);
        self.closing.send_replace(true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
