//! The one place that accepts: a place → accept → a client. And which threads look after it.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::io::Errno;

use crate::serve::admission::{Place, Places};
use crate::serve::system::{Queue, System};

pub(crate) struct Door<Y: System> {
    /// Weak, because a thread that a handler blocks must not keep the socket when the server has ended.
    listener: Weak<Y::Listener>,
    pub(crate) places: Arc<Places>,
    /// A descriptor kept for the day when there is no other: with it clients are let in one by one, to be
    /// told.
    reserve: Mutex<Option<File>>,
    /// It was given up, and has to be had again before another client is let in.
    reserve_is_gone: AtomicBool,
    acceptor: AtomicU8,
}

/// What a look at the door finds.
#[derive(Debug)]
pub(crate) enum Entry<S> {
    Client(S, Place),
    Nobody,
    /// A client waits, and there is no place.
    Full,
    /// A client waits, and cannot be accepted.
    Starved(Errno),
    /// No client can connect any more, and the queue is empty.
    Shut,
}

/// Which threads accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptor {
    Workers,
    /// It can wait for a place, be patient, and tell clients why they are not served.
    Watchdog,
    /// The server ends.
    Nobody,
}

impl<Y: System> Door<Y> {
    /// # Errors
    /// When there is no reserve descriptor: clients that find no other would wait, and could not be told.
    pub(crate) fn new(listener: &Arc<Y::Listener>, places: Arc<Places>) -> io::Result<Self> {
        let (listener, reserve) = (Arc::downgrade(listener), Mutex::new(Some(reserve()?)));
        let (reserve_is_gone, acceptor) =
            (AtomicBool::new(false), AtomicU8::new(Acceptor::Watchdog as u8));
        Ok(Self { listener, places, reserve, reserve_is_gone, acceptor })
    }

    /// The next client. Never waits, and is never an error that its caller would have to sort out.
    pub(crate) fn next(&self) -> Entry<Y::Stream> {
        let Some(listener) = self.listener.upgrade() else { return Entry::Shut };
        // First the place: a client that cannot be served yet waits in the accept queue.
        let Some(place) = self.places.take() else {
            // A queue that is shut always looks as if a client were in it.
            return if listener.has_waiting() { Entry::Full } else { Entry::Nobody };
        };
        if self.reserve_is_gone.load(Ordering::SeqCst) {
            self.refill();
        }
        match accept(&*listener) {
            Ok(stream) => Entry::Client(stream, place),
            Err(Errno::AGAIN | Errno::INVAL) if listener.is_shut() => Entry::Shut,
            Err(Errno::AGAIN) => Entry::Nobody,
            // With no descriptor left an empty queue gives that error, too.
            Err(_) if !listener.has_waiting() => Entry::Nobody,
            Err(error) => Entry::Starved(error),
        }
    }

    /// A client that is to be told why it is not served, accepted with the reserve descriptor if there is
    /// no other. None if there is none.
    ///
    /// # Errors
    /// When one waits, and cannot be accepted.
    pub(crate) fn next_to_refuse(&self) -> Result<Option<Y::Stream>, Errno> {
        let Some(listener) = self.listener.upgrade() else { return Ok(None) };
        self.refill();
        let accepted = match accept(&*listener) {
            Err(Errno::MFILE | Errno::NFILE) if self.give_up_reserve() => accept(&*listener),
            accepted => accepted,
        };
        if accepted.is_err() {
            self.refill();
        }
        match accepted {
            Ok(stream) => Ok(Some(stream)),
            Err(Errno::AGAIN | Errno::INVAL) => Ok(None),
            Err(_) if !listener.has_waiting() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A descriptor that came free would else serve one client more, and leave all after it untold.
    fn refill(&self) {
        let mut kept = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            *kept = reserve().ok();
        }
        self.reserve_is_gone.store(kept.is_none(), Ordering::SeqCst);
    }

    fn give_up_reserve(&self) -> bool {
        let mut kept = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        self.reserve_is_gone.store(true, Ordering::SeqCst);
        kept.take().is_some()
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.listener.upgrade().is_some_and(|listener| listener.has_waiting())
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.listener.upgrade().is_some_and(|listener| listener.is_shut())
    }

    pub(crate) fn listener(&self) -> Option<Arc<Y::Listener>> {
        self.listener.upgrade()
    }

    pub(crate) fn acceptor(&self) -> Acceptor {
        match self.acceptor.load(Ordering::SeqCst) {
            acceptor if acceptor == Acceptor::Workers as u8 => Acceptor::Workers,
            acceptor if acceptor == Acceptor::Watchdog as u8 => Acceptor::Watchdog,
            _ => Acceptor::Nobody,
        }
    }

    /// The watchdog says which threads accept from now on.
    pub(crate) fn give_to(&self, acceptor: Acceptor) {
        self.acceptor.store(acceptor as u8, Ordering::SeqCst);
    }

    /// A worker cannot go on. True the first time.
    pub(crate) fn leave_to_watchdog(&self) -> bool {
        let (workers, watchdog) = (Acceptor::Workers as u8, Acceptor::Watchdog as u8);
        let left =
            self.acceptor.compare_exchange(workers, watchdog, Ordering::SeqCst, Ordering::SeqCst);
        left.is_ok()
    }
}

/// A signal only interrupts, and a client that has left already is passed over.
fn accept<Q: Queue>(listener: &Q) -> Result<Q::Stream, Errno> {
    loop {
        match listener.accept() {
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            accepted => return accepted,
        }
    }
}

fn reserve() -> io::Result<File> {
    File::open("/dev/null")
}
