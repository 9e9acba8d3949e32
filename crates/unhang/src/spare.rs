//! A descriptor kept for the day when there is no other.

use std::fs::File;

use rustix::io::Errno;

use crate::queue::Queue;

/// With no descriptor left, nobody can be accepted, and so nobody told why: the clients would wait
/// in the queue for as long as it lasts. Giving one up lets them in one by one, to hear it.
pub(crate) struct Spare(Option<File>);

impl Spare {
    pub(crate) fn new() -> Self {
        let mut spare = Self(None);
        spare.refill();
        spare
    }

    /// Accepts with the spare descriptor, if that is what was missing.
    pub(crate) fn accept<Q: Queue>(&mut self, queue: &Q, error: Errno) -> Option<Q::Connection> {
        if !matches!(error, Errno::MFILE | Errno::NFILE) {
            return None;
        }
        self.0.take()?;
        queue.accept().ok()
    }

    /// Takes it back, once there is one to take.
    pub(crate) fn refill(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }
}
