//! What all calls of a door share: its connections, which of them can be used, and what is known of workers.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_nats::Message;
use tokio::sync::mpsc;

use crate::address::Address;
use crate::call::Times;
use crate::clock::{millis, wall};
use crate::link::{Incoming, LEAVE, Link, State};
use crate::notice::{Notice, Notices};
use crate::protocol::{Id, Word};

/// A clock that is off by less than this cannot be told from a busy machine.
const SKEW: Duration = Duration::from_millis(100);

/// Of so many workers a skew is told: once each.
const MOST_TOLD: usize = 10_000;

/// How long calls ask first which worker is free, after one was swallowed. A node that hangs, or a worker that is
/// stopped, swallows more of them; and while it does, this begins anew.
const WARY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: Address,
    pub(super) subject: String,
    pub(super) deadline: Duration,
    pub(super) is_idempotent: bool,
    pub(super) times: Times,
    pub(super) notices: Notices,
    pub(super) ends: Vec<End>,
    /// The connection that is tried first by the next call.
    pub(super) next: AtomicUsize,
    pub(super) skewed: Mutex<HashSet<String>>,
    pub(super) waiting: Mutex<HashMap<Id, Waiting>>,
    pub(super) numbers: AtomicU32,
    pub(super) begun: Instant,
    /// Until when calls are wary, in milliseconds since `begun`.
    pub(super) wary: AtomicU64,
}

/// A connection, and the calls whose replies come on it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) link: Link,
    pub(super) tries: Arc<Tries>,
}

/// By the last token of the subject that the reply goes to.
pub(super) type Tries = Mutex<HashMap<Id, mpsc::UnboundedSender<Message>>>;

/// A call that waits, for `unhang why`.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Which call.
    pub id: Id,
    /// The same, as the server's control socket names it.
    pub number: u32,
    /// The worker that has it, once one has said so.
    pub worker: Option<String>,
    /// Since when.
    pub since: Instant,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives each reply to the try that it is for. A try that is over is not there any more: its late reply
/// goes nowhere, and never to another.
pub(super) async fn hand_out(mut incoming: Incoming, tries: Weak<Tries>) {
    while let Some(message) = incoming.recv().await {
        let Some(tries) = tries.upgrade() else { return };
        let id = message.subject.as_str().rsplit('.').next().and_then(Id::parse);
        let Some(id) = id else { continue };
        let waits = lock(&tries).get(&id).cloned();
        if let Some(waits) = waits {
            let _ = waits.send(message);
        }
    }
}

/// A node that goes away is left once no call is under way on it.
pub(super) async fn leave_when_empty(link: Link) {
    let mut states = link.states();
    loop {
        if states.wait_for(|it| it.is_up && it.is_leaving).await.is_err() {
            return;
        }
        let epoch = link.state().epoch;
        let until = Instant::now() + LEAVE;
        while link.open_calls().load(Ordering::SeqCst) > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if link.state().epoch == epoch {
            link.move_away().await;
        }
        if states.wait_for(|it| it.epoch != epoch).await.is_err() {
            return;
        }
    }
}

impl Shared {
    pub(super) fn waiting(&self) -> MutexGuard<'_, HashMap<Id, Waiting>> {
        lock(&self.waiting)
    }

    /// The next connection that can be used, not that one if another can be; waits for one.
    pub(super) async fn usable(&self, avoid: Option<usize>) -> usize {
        let mut changes: Vec<_> = self.ends.iter().map(|end| end.link.states()).collect();
        loop {
            if let Some(at) = self.usable_now(avoid) {
                return at;
            }
            let changed = changes.iter_mut().map(|change| Box::pin(change.changed()));
            // Their senders live in the links.
            let _ = futures_util::future::select_all(changed).await;
        }
    }

    pub(super) fn usable_now(&self, avoid: Option<usize>) -> Option<usize> {
        let count = self.ends.len();
        let from = self.next.fetch_add(1, Ordering::Relaxed);
        let order = (0..count).map(|nth| (from + nth) % count);
        let is = |at: usize, test: &dyn Fn(&State) -> bool| self.ends[at].link.is(test);
        let best = order.clone().find(|at| avoid != Some(*at) && is(*at, &State::is_usable));
        best.or_else(|| order.clone().find(|at| is(*at, &State::is_usable)))
            // Better a node that goes away than none; better one that is silent than an error.
            .or_else(|| order.clone().find(|at| is(*at, &|it| it.is_up && !it.is_silent)))
            .or_else(|| order.clone().find(|at| is(*at, &|it| it.is_up)))
    }

    /// Something swallows calls.
    pub(super) fn be_wary(&self) {
        self.wary.store(millis(self.begun.elapsed() + WARY), Ordering::Relaxed);
    }

    pub(super) fn is_wary(&self) -> bool {
        let until = self.wary.load(Ordering::Relaxed);
        until > 0 && millis(self.begun.elapsed()) < until
    }

    pub(super) fn hear(&self, id: Id, word: &Word) {
        if let Word::Accepted { worker, .. } = word
            && let Some(waiting) = self.waiting().get_mut(&id)
        {
            waiting.worker = Some(worker.clone());
        }
        if let Word::Accepted { worker, at } | Word::Late { worker, at } = word {
            let (here, there) = (i128::from(wall()), i128::from(*at));
            let ahead = i64::try_from(there - here).unwrap_or(i64::MAX);
            if ahead.unsigned_abs() > millis(SKEW) {
                let mut told = lock(&self.skewed);
                if told.len() < MOST_TOLD && told.insert(worker.clone()) {
                    self.notices.tell(Notice::Skew { worker: worker.clone(), ahead });
                }
            }
        }
    }

    pub(super) fn max_payload(&self) -> usize {
        self.ends.iter().map(|end| end.link.client.max_payload()).max().unwrap_or_default()
    }

    /// Why no connection can be used.
    pub(super) fn why(&self) -> String {
        let states = self.ends.iter().map(|end| end.link.state());
        states
            .filter(|it| !it.is_up)
            .map(|it| it.why)
            .next()
            .unwrap_or_else(|| "it takes no bytes".into())
    }
}
