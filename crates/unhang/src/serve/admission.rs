//! Who is let in: whether there is a place, whether this user may ask, and how often at once.

use std::collections::HashMap;
use std::future::ready;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::event::{Cause, Scarce};
use crate::handler::Peer;
use crate::limits::Limits;
use crate::serve::config::later;

/// The places for connections. Who finds none waits in the kernel's accept queue, where it is not
/// known how long each has waited; so the queue as a whole is timed, from when it could not be
/// worked off.
pub(crate) struct Places {
    free: Arc<Semaphore>,
    all: u32,
    patience: Duration,
    waiting_since: Mutex<Option<Instant>>,
}

pub(crate) enum Turn {
    Served(OwnedSemaphorePermit),
    /// Whoever is in the accept queue has waited for too long.
    TooLate,
}

impl Places {
    pub(crate) fn new(limits: &Limits) -> Self {
        // More than a process may have descriptors, by far, and within what a semaphore can count.
        const MOST: usize = 1 << 24;
        let all = limits.max_connections.clamp(1, MOST);
        Self {
            free: Arc::new(Semaphore::new(all)),
            all: u32::try_from(all).unwrap_or(u32::MAX),
            patience: limits.queue,
            waiting_since: Mutex::new(None),
        }
    }

    /// `somebody_waits` is done when the accept queue is not empty.
    pub(crate) async fn take(&self, somebody_waits: impl Future<Output = ()>) -> Turn {
        let mut somebody_waits = pin!(somebody_waits);
        if self.waiting_since().is_some() {
            // Those who waited may all have been served: whoever comes next has its own patience.
            tokio::select! {
                biased;
                () = somebody_waits.as_mut() => {}
                () = ready(()) => self.queue_is_empty(),
            }
        }
        let known = *self.waiting_since();
        let since = if let Some(since) = known {
            since
        } else {
            tokio::select! {
                biased;
                place = self.free() => return place,
                () = somebody_waits => Instant::now(),
            }
        };
        *self.waiting_since() = Some(since);
        let late = later(since, self.patience);
        // Asked first, as a place that has come free does not make those who wait any younger.
        if Instant::now() >= late {
            return Turn::TooLate;
        }
        timeout_at(late, self.free()).await.unwrap_or(Turn::TooLate)
    }

    async fn free(&self) -> Turn {
        // The semaphore is never closed.
        Arc::clone(&self.free).acquire_owned().await.map_or(Turn::TooLate, Turn::Served)
    }

    /// Nobody waits any more.
    pub(crate) fn queue_is_empty(&self) {
        *self.waiting_since() = None;
    }

    fn waiting_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one.
    pub(crate) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// How many are free.
    pub(crate) fn left(&self) -> usize {
        self.free.available_permits()
    }

    pub(crate) fn taken(&self) -> usize {
        self.all as usize - self.free.available_permits()
    }

    /// Waits until the last connection has ended.
    pub(crate) async fn all_free(&self) {
        // The semaphore is never closed.
        let _ = self.free.acquire_many(self.all).await;
    }
}

/// Who may ask.
#[derive(Default)]
pub(crate) struct Admission {
    uids: Vec<u32>,
    gids: Vec<u32>,
    inside: Arc<Mutex<HashMap<u32, usize>>>,
}

/// Who was let in.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) accepted: Instant,
    /// Where somebody wants to know.
    pub(crate) peer: Option<Peer>,
    /// Where users are counted.
    pub(crate) entry: Option<Arc<Entry>>,
}

/// Counts a connection of a user until it is released or dropped.
pub(crate) struct Entry {
    uid: u32,
    inside: Arc<Mutex<HashMap<u32, usize>>>,
    released: AtomicBool,
}

impl Admission {
    pub(crate) fn allow(&mut self, uids: Vec<u32>, gids: Vec<u32>) {
        self.uids = uids;
        self.gids = gids;
    }

    /// Whether it has to be known who a client is.
    pub(crate) fn asks(&self, limits: &Limits) -> bool {
        self.has_list() || limits.max_per_uid != usize::MAX
    }

    fn has_list(&self) -> bool {
        !self.uids.is_empty() || !self.gids.is_empty()
    }

    /// Whether this client may come in now.
    pub(crate) fn admit(&self, peer: Option<Peer>, limits: &Limits) -> Result<Guest, Cause> {
        if !self.asks(limits) {
            return Ok(Guest::new(peer));
        }
        // Whom the kernel does not name is nobody: such a client is allowed nothing but what all are.
        let (uid, gid) = peer.map_or((u32::MAX, u32::MAX), |peer| (peer.uid, peer.gid));
        if self.has_list() && !self.uids.contains(&uid) && !self.gids.contains(&gid) {
            return Err(Cause::NotAllowed);
        }
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let count = inside.get(&uid).copied().unwrap_or_default();
        if count >= limits.max_per_uid {
            return Err(Cause::Busy(Scarce::PerUser { most: limits.max_per_uid }));
        }
        inside.insert(uid, count + 1);
        let inside = Arc::clone(&self.inside);
        let entry = Arc::new(Entry { uid, inside, released: AtomicBool::new(false) });
        Ok(Guest { entry: Some(entry), ..Guest::new(peer) })
    }
}

impl Guest {
    /// Accepted now.
    pub(crate) fn new(peer: Option<Peer>) -> Self {
        Self { accepted: Instant::now(), peer, entry: None }
    }

    /// To be called before the close: a client that connects again right after it must not be told
    /// that it is still inside.
    pub(crate) fn leave(&self) {
        if let Some(entry) = &self.entry {
            entry.release();
        }
    }
}

impl Entry {
    fn release(&self) {
        if self.released.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = inside.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.uid);
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gid: u32) -> Peer {
        Peer { pid: 1, uid, gid }
    }

    #[test]
    fn without_a_list_everybody_may_ask() {
        assert!(Admission::default().admit(Some(peer(1, 1)), &Limits::default()).is_ok());
        assert!(Admission::default().admit(None, &Limits::default()).is_ok());
    }

    #[test]
    fn a_listed_user_or_group_may_ask_and_nobody_else() {
        let mut admission = Admission::default();
        admission.allow(vec![10], vec![20]);
        let may = |peer| admission.admit(peer, &Limits::default()).is_ok();
        assert!(may(Some(peer(10, 1))) && may(Some(peer(1, 20))));
        assert!(!may(Some(peer(20, 10))) && !may(None));
    }

    #[test]
    fn one_user_may_fill_only_its_own_share_and_gets_it_back() {
        let limits = Limits { max_per_uid: 2, ..Limits::default() };
        let admission = Admission::default();
        let admit = |uid| admission.admit(Some(peer(uid, 0)), &limits);
        let (first, _second) = (admit(1).ok(), admit(1).ok());
        assert!(matches!(admit(1), Err(Cause::Busy(Scarce::PerUser { most: 2 }))));
        assert!(admit(2).is_ok());
        drop(first);
        assert!(admit(1).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_may_wait_for_its_patience_and_no_longer() {
        let limits = Limits { max_connections: 1, ..Limits::default() };
        let places = Places::new(&limits);
        let Turn::Served(place) = places.take(ready(())).await else { panic!("the place is free") };
        let begun = Instant::now();
        assert!(matches!(places.take(ready(())).await, Turn::TooLate));
        assert_eq!(begun.elapsed(), limits.queue);
        assert!(matches!(places.take(ready(())).await, Turn::TooLate));
        // A place that comes free now is for those who come from now on.
        drop(place);
        assert!(matches!(places.take(ready(())).await, Turn::TooLate));
        places.queue_is_empty();
        assert!(matches!(places.take(ready(())).await, Turn::Served(_)));
    }

    /// It had not: it was told that the server is busy when the patience of those before it, who
    /// were served long since, was at its end.
    #[tokio::test(start_paused = true)]
    async fn who_comes_when_the_others_were_served_has_all_of_its_own_patience() {
        let limits = Limits { max_connections: 1, ..Limits::default() };
        let places = Places::new(&limits);
        let Turn::Served(first) = places.take(ready(())).await else { panic!("it is free") };
        let (second, ()) = tokio::join!(places.take(ready(())), async {
            tokio::time::sleep(limits.queue / 2).await;
            drop(first);
        });
        assert!(matches!(second, Turn::Served(_)), "it has waited half of its patience");
        let begun = Instant::now();
        let quiet = tokio::time::sleep(limits.queue / 4);
        assert!(matches!(places.take(quiet).await, Turn::TooLate));
        assert_eq!(begun.elapsed(), limits.queue / 4 + limits.queue);
    }

    /// No clock could hold it, and the thread that all depend on panicked.
    #[tokio::test(start_paused = true)]
    async fn the_queue_may_be_patient_for_ever() {
        let limits = Limits { max_connections: 1, queue: Duration::MAX, ..Limits::default() };
        let places = Places::new(&limits);
        let Turn::Served(_place) = places.take(ready(())).await else { panic!("it is free") };
        let a_day = Duration::from_secs(24 * 60 * 60);
        assert!(tokio::time::timeout(a_day, places.take(ready(()))).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn while_nobody_waits_no_patience_is_lost() {
        let limits = Limits { max_connections: 1, ..Limits::default() };
        let places = Places::new(&limits);
        let Turn::Served(_place) = places.take(ready(())).await else { panic!("it is free") };
        let begun = Instant::now();
        let quiet = tokio::time::sleep(10 * limits.queue);
        assert!(matches!(places.take(quiet).await, Turn::TooLate));
        assert_eq!(begun.elapsed(), 11 * limits.queue);
    }
}
