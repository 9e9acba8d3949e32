//! Descriptors for very many clients.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, getrlimit, setrlimit};

/// For ten thousand clients, and as much again as anything else could need.
pub(super) const DESCRIPTORS: u64 = 12_000;

/// All tests of this process share its descriptors, which are not enough for two crowds.
static ONE_CROWD: Mutex<()> = Mutex::new(());

/// So many descriptors this process may open, for as long as nobody else needs that many.
pub(super) struct Allowed {
    pub(super) most: u64,
    _alone: MutexGuard<'static, ()>,
}

/// Has this process open as many as there are for a crowd, or what the hard limit permits (`ulimit -Hn`).
pub(super) fn allow_descriptors() -> Allowed {
    let alone = ONE_CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).min(DESCRIPTORS);
    if limit.current.is_some_and(|current| current < most) {
        limit.current = Some(most);
        setrlimit(Resource::Nofile, limit).unwrap();
    }
    Allowed { most, _alone: alone }
}
