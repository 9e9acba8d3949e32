//! Which clients are let in: whether there is a place, whether this user may ask, and how often at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::event::{Cause, Scarce};
use crate::handler::Peer;
use crate::limits::Limits;
use crate::peer;

/// Room for the connections that are served at once.
pub(crate) struct Places {
    pub(crate) most: usize,
    /// So many are taken; and in units of [`LENT`], so many connections are kept that have lent their places.
    /// In one number, as each exchange on a kept connection changes both.
    counts: Arc<AtomicU64>,
    /// Whether anybody waits for one that comes free.
    wanted: AtomicBool,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// One of them, given back when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    /// Others may have it meanwhile.
    is_lent: bool,
}

const LENT: u64 = 1 << 32;

/// How many places are taken, and how many are lent.
pub(crate) fn taken_and_lent(counts: &AtomicU64) -> (usize, usize) {
    let counts = counts.load(Ordering::SeqCst);
    let number = |of: u64| usize::try_from(of).unwrap_or(usize::MAX);
    (number(counts % LENT), number(counts / LENT))
}

impl Places {
    /// `counts` tells gauges [how many](taken_and_lent).
    pub(crate) fn new(most: usize, counts: Arc<AtomicU64>) -> Arc<Self> {
        let (wanted, wake) = (AtomicBool::new(false), OnceLock::new());
        // Descriptors are numbered by an i32, so there are never more.
        let most = most.clamp(1, i32::MAX as usize);
        Arc::new(Self { most, counts, wanted, wake })
    }

    /// Calls `wake` when a place comes free that is [wanted](Self::want).
    pub(crate) fn wakes(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        self.take_one(1).then(|| Place { places: Arc::clone(self), is_lent: false })
    }

    /// Takes one, if one is free, by this change.
    fn take_one(&self, change: u64) -> bool {
        let most = self.most as u64;
        let more = |counts: u64| (counts % LENT < most).then(|| counts.wrapping_add(change));
        self.counts.fetch_update(Ordering::SeqCst, Ordering::Relaxed, more).is_ok()
    }

    fn has_changed(&self) {
        if self.wanted.load(Ordering::SeqCst) && self.wanted.swap(false, Ordering::SeqCst) {
            if let Some(wake) = self.wake.get() {
                wake();
            }
        }
    }

    pub(crate) fn taken(&self) -> usize {
        taken_and_lent(&self.counts).0
    }

    pub(crate) fn left(&self) -> usize {
        self.most - self.taken().min(self.most)
    }

    /// Whether no connection is left, kept ones included.
    pub(crate) fn all_left(&self) -> bool {
        taken_and_lent(&self.counts) == (0, 0)
    }

    /// Asks to be woken when a place comes free, or a connection ends. To be called before the look that
    /// finds none.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }
}

impl Place {
    /// Lets others have it for a while.
    pub(crate) fn lend(&mut self) {
        if !std::mem::replace(&mut self.is_lent, true) {
            self.places.counts.fetch_add(LENT - 1, Ordering::SeqCst);
            self.places.has_changed();
        }
    }

    /// Ends that. False if no place is free.
    pub(crate) fn take_back(&mut self) -> bool {
        if self.is_lent && self.places.take_one(1_u64.wrapping_sub(LENT)) {
            self.is_lent = false;
        }
        !self.is_lent
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.counts.fetch_sub(if self.is_lent { LENT } else { 1 }, Ordering::SeqCst);
        self.places.has_changed();
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

/// The users and groups that may ask.
#[derive(Default)]
pub(crate) struct Admission {
    /// `None`: the socket file's mode alone decides.
    list: Option<(Vec<u32>, Vec<u32>)>,
    inside: Arc<Mutex<HashMap<u32, usize>>>,
}

/// A client that was let in.
#[derive(Default)]
pub(crate) struct Client {
    /// If its server wants to know.
    pub(crate) peer: Option<Peer>,
    /// If users are counted.
    entry: Option<Entry>,
}

/// Counts a connection of a user until it is dropped.
struct Entry {
    uid: u32,
    inside: Arc<Mutex<HashMap<u32, usize>>>,
}

/// The uid of a process that has no id here: of another user namespace, say (`user_namespaces(7)`,
/// /proc/sys/kernel/overflowuid). It is nobody, and any number of users.
pub(crate) const OVERFLOW_UID: u32 = 65534;

impl Admission {
    pub(crate) fn allow(&mut self, mut uids: Vec<u32>, mut gids: Vec<u32>) {
        uids.retain(|uid| !peer::is_nobody(*uid));
        gids.retain(|gid| !peer::is_no_group(*gid));
        self.list = Some((uids, gids));
    }

    /// Whether the client's user has to be known.
    pub(crate) fn asks(&self, limits: &Limits) -> bool {
        self.list.is_some() || limits.max_per_uid != usize::MAX
    }

    /// Whether this client may come in now.
    pub(crate) fn admit(&self, peer: Option<Peer>, limits: &Limits) -> Result<Client, Cause> {
        if !self.asks(limits) {
            return Ok(Client { peer, entry: None });
        }
        // A client that the kernel does not name is allowed nothing but what all are.
        if let Some((uids, gids)) = &self.list {
            let is_listed = |peer: Peer| uids.contains(&peer.uid) || gids.contains(&peer.gid);
            if !peer.is_some_and(is_listed) {
                return Err(Cause::NotAllowed);
            }
        }
        let uid = peer.map_or(OVERFLOW_UID, |peer| peer.uid);
        let mut inside = lock(&self.inside);
        let count = inside.entry(uid).or_default();
        if *count >= limits.max_per_uid {
            return Err(Cause::Busy(Scarce::PerUser { most: limits.max_per_uid }));
        }
        *count += 1;
        Ok(Client { peer, entry: Some(Entry { uid, inside: Arc::clone(&self.inside) }) })
    }
}

impl Client {
    pub(crate) fn is_counted(&self) -> bool {
        self.entry.is_some()
    }

    /// To be called before the close: a client that connects again right after it must not be told
    /// that it is still inside.
    pub(crate) fn leave(&mut self) {
        self.entry = None;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut inside = lock(&self.inside);
        if let Some(count) = inside.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.uid);
            }
        }
    }
}

fn lock(inside: &Mutex<HashMap<u32, usize>>) -> MutexGuard<'_, HashMap<u32, usize>> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// An empty list let everybody in.
    #[test]
    fn an_empty_list_lets_nobody_in() {
        let mut admission = Admission::default();
        admission.allow(vec![], vec![]);
        assert!(admission.admit(Some(peer(0, 0)), &Limits::default()).is_err());
    }

    #[test]
    fn a_listed_user_or_group_may_ask_and_nobody_else() {
        let mut admission = Admission::default();
        admission.allow(vec![10, OVERFLOW_UID], vec![20]);
        let may = |peer| admission.admit(peer, &Limits::default()).is_ok();
        assert!(may(Some(peer(10, 1))) && may(Some(peer(1, 20))));
        assert!(!may(Some(peer(20, 10))) && !may(None));
        let is_somebody = !crate::peer::is_nobody(OVERFLOW_UID);
        assert_eq!(may(Some(peer(OVERFLOW_UID, 1))), is_somebody, "it may be anybody");
    }

    #[test]
    fn one_user_may_fill_only_its_own_share_and_gets_it_back() {
        let limits = Limits { max_per_uid: 2, ..Limits::default() };
        let admission = Admission::default();
        let admit = |uid| admission.admit(Some(peer(uid, 0)), &limits);
        let (mut first, _second) = (admit(1).unwrap(), admit(1).unwrap());
        assert!(matches!(admit(1), Err(Cause::Busy(Scarce::PerUser { most: 2 }))));
        assert!(admit(2).is_ok());
        first.leave();
        assert!(admit(1).is_ok());
        assert!(lock(&admission.inside).contains_key(&1));
    }

    #[test]
    fn a_place_that_comes_free_wakes_once_if_it_is_wanted() {
        let places = Places::new(1, Arc::default());
        let woken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&woken);
        places.wakes(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        drop(places.take());
        places.want();
        let place = places.take().unwrap();
        assert!(places.take().is_none() && places.left() == 0);
        drop(place);
        drop(places.take());
        assert_eq!((woken.load(Ordering::Relaxed), places.taken()), (1, 0));
    }

    #[test]
    fn a_place_that_is_lent_is_there_for_others_and_taken_back_if_it_is_free() {
        let places = Places::new(1, Arc::default());
        let mut kept = places.take().unwrap();
        kept.lend();
        let other = places.take().unwrap();
        assert!(!kept.take_back() && !places.all_left());
        drop(other);
        assert!(!places.all_left() && kept.take_back() && places.taken() == 1);
        kept.lend();
        drop(kept);
        assert!(places.all_left());
    }
}
