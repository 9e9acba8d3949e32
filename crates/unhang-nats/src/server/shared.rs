//! What all calls of a service share: its places, the calls that it has, and its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use unhang::WaitReport;

use crate::clock::{millis, wall};
use crate::link::Link;
use crate::notice::{Notice, Notices};
use crate::protocol::{self, Id, Question, Word};

/// A call that was started is known for so long after the last moment at which it could be started once more.
const REMEMBERED: u64 = 10_000;

/// How many calls a server has, read from anywhere.
#[derive(Clone, Debug, Default)]
pub struct Counts(pub(super) Arc<AtomicUsize>);

impl Counts {
    /// Calls under way.
    pub fn running(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Says what a call waits for.
pub(super) type Teller = Arc<dyn Fn(&WaitReport, Duration) -> String + Send + Sync>;

pub(super) struct Shared<H> {
    pub(super) handler: H,
    /// What it runs on.
    pub(super) handlers: Handle,
    pub(super) subject: String,
    pub(super) name: String,
    pub(super) deadline: Duration,
    pub(super) clock_ahead: i64,
    pub(super) notices: Notices,
    pub(super) places: Arc<Semaphore>,
    pub(super) counts: Counts,
    pub(super) running: Mutex<HashMap<Id, Running>>,
    pub(super) teller: Option<Teller>,
    /// How many of them may look at once.
    pub(super) looks: Arc<Semaphore>,
    /// Calls that were started, and until when the same could be started once more: it is a copy, and no
    /// door makes one.
    pub(super) started: Mutex<HashMap<Id, u64>>,
    /// Where each connection takes calls that asked first.
    pub(super) direct: Mutex<HashMap<usize, String>>,
    pub(super) stopping: watch::Sender<bool>,
    /// The drain is over: calls under way are told so.
    pub(super) over: watch::Sender<bool>,
    pub(super) links: Mutex<Vec<Link>>,
}

/// A call under way.
pub(super) struct Running {
    pub(super) begun: Instant,
    /// What its handler has said that it waits for.
    pub(super) report: WaitReport,
}

impl<H> Shared<H> {
    /// A place for the call, or why it is not run.
    pub(super) fn admit(
        &self,
        question: &Question,
        way: Way,
    ) -> Result<OwnedSemaphorePermit, Word> {
        let worker = self.name.clone();
        let now = self.wall();
        if Self::is_late(question, now) {
            return Err(Word::Late { worker, at: now });
        }
        // A call that asked first is safe to refuse, and its door seeks another worker. One that comes by the group
        // could not be on its way to another any more.
        let is_over = if way == Way::Group { &self.over } else { &self.stopping };
        if *is_over.borrow() {
            return Err(Word::Stopping { worker });
        }
        let mut started = lock(&self.started);
        if !question.is_idempotent && started.contains_key(&question.id) {
            return Err(self.failed("handler_failed"));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Word::Busy { worker })?;
        if started.len() >= 1024 && started.len().is_power_of_two() {
            started.retain(|_, by| by.saturating_add(REMEMBERED) >= now);
        }
        started.insert(question.id, question.by);
        Ok(place)
    }

    /// Whether a call could be started now, for a door that asks first.
    pub(super) fn offer(&self, question: &Question, link: &Link) -> Word {
        let worker = self.name.clone();
        let now = self.wall();
        let direct = lock(&self.direct).get(&link.number).cloned();
        match direct {
            _ if Self::is_late(question, now) => Word::Late { worker, at: now },
            _ if *self.stopping.borrow() => Word::Stopping { worker },
            Some(direct) if self.places.available_permits() > 0 => Word::Free { worker, direct },
            _ => Word::Busy { worker },
        }
    }

    fn is_late(question: &Question, now: u64) -> bool {
        let farthest = now.saturating_add(millis(protocol::FARTHEST));
        now > question.by || question.by > farthest
    }

    pub(super) fn refuse(&self, what: &str) {
        self.notices.tell(Notice::Refused { what: what.to_owned() });
    }

    pub(super) fn failed(&self, code: &str) -> Word {
        Word::Failed { worker: self.name.clone(), code: code.to_owned() }
    }

    pub(super) fn tell(
        &self,
        question: &Question,
        outcome: &'static str,
        why: Option<String>,
        (bytes_in, bytes_out): (usize, usize),
        took: Duration,
    ) {
        let (id, uid) = (question.id, question.peer);
        self.notices.tell(Notice::Served { id, uid, outcome, why, bytes_in, bytes_out, took });
    }

    pub(super) fn wall(&self) -> u64 {
        wall().saturating_add_signed(self.clock_ahead)
    }
}

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// NATS has chosen this worker.
    Group,
    /// The door has, after it asked.
    Direct,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
