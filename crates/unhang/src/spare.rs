//! A descriptor kept for the day when there is no other.

use std::fs::File;
use std::io;

use rustix::io::Errno;

use crate::queue::Queue;

/// With no descriptor left, nobody can be accepted, and so nobody told why: the clients would wait
/// in the queue for as long as it lasts. Giving one up lets them in one by one, to hear it; and shows
/// whether anybody is there, as without one an empty queue gives the same error as a full one.
pub(crate) struct Spare(Option<File>);

/// Who was accepted.
pub(crate) enum Accepted<C> {
    Usual(C),
    /// In the place of the spare descriptor, because of that error.
    WithSpare(C, Errno),
}

impl Spare {
    /// # Errors
    /// When there is none: whoever came would wait, and nobody could tell it so.
    pub(crate) fn new() -> io::Result<Self> {
        open().map(Some).map(Self)
    }

    /// Accepts, with the spare descriptor if there is no other.
    pub(crate) fn accept<Q: Queue>(
        &mut self,
        queue: &Q,
    ) -> rustix::io::Result<Accepted<Q::Connection>> {
        // First the spare: what came free would else serve one client more, and leave all after it
        // untold.
        self.refill();
        match queue.accept() {
            Err(error @ (Errno::MFILE | Errno::NFILE)) if self.0.take().is_some() => {
                let accepted = queue.accept();
                if accepted.is_err() {
                    self.refill();
                }
                accepted.map(|connection| Accepted::WithSpare(connection, error))
            }
            accepted => accepted.map(Accepted::Usual),
        }
    }

    fn refill(&mut self) {
        if self.0.is_none() {
            self.0 = open().ok();
        }
    }
}

fn open() -> io::Result<File> {
    File::open("/dev/null")
}
