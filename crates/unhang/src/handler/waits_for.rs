//! What a handler has said that it waits for: `unhang why` is told, and follows it there.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a handler waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The process with this id, which has the request.
    Process(u32),
    /// The far end of this process's own descriptor.
    Descriptor(u32),
    /// Until another request gives back what this one needs: all workers or processes are busy.
    Place,
    /// A call on another machine, which [`Server::tell_of_calls`](crate::Server::tell_of_calls) can tell of.
    Call(u32),
}

/// What a request holds of its server's bounds, and what its handler waits for. The bounds are given back
/// once the last copy is gone.
pub(crate) struct Held<T: ?Sized = dyn Any + Send + Sync> {
    /// Its kind above [`KIND`], and a number below. 0: the handler has said nothing.
    waits_for: AtomicU64,
    _bounds: T,
}

/// A handler's way to say what it waits for.
#[cfg(any(feature = "program", test))]
#[derive(Clone)]
pub(crate) struct Telling(Option<Arc<Held>>);

const KIND: u32 = 32;

impl<T> Held<T> {
    pub(crate) fn new(bounds: T) -> Self {
        Self { waits_for: AtomicU64::new(0), _bounds: bounds }
    }
}

impl<T: ?Sized> Held<T> {
    pub(crate) fn waits_for(&self) -> Option<WaitsFor> {
        let told = self.waits_for.load(Ordering::Relaxed);
        let number = u32::try_from(told & u64::from(u32::MAX)).ok()?;
        match told >> KIND {
            1 => Some(WaitsFor::Process(number)),
            2 => Some(WaitsFor::Descriptor(number)),
            3 => Some(WaitsFor::Place),
            4 => Some(WaitsFor::Call(number)),
            _ => None,
        }
    }
}

impl<T: ?Sized> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({:?})", self.waits_for())
    }
}

impl<T: ?Sized> Held<T> {
    pub(crate) fn tell(&self, what: WaitsFor) {
        let (kind, number) = match what {
            WaitsFor::Process(pid) => (1, pid),
            WaitsFor::Descriptor(fd) => (2, fd),
            WaitsFor::Place => (3, 0),
            WaitsFor::Call(number) => (4, number),
        };
        self.waits_for.store(kind << KIND | u64::from(number), Ordering::Relaxed);
    }
}

#[cfg(any(feature = "program", test))]
impl Telling {
    pub(super) fn new(held: Option<Arc<Held>>) -> Self {
        Self(held)
    }

    pub(crate) fn waits_for(&self, what: WaitsFor) {
        if let Some(held) = &self.0 {
            held.tell(what);
        }
    }
}

/// What the handler of a request waits for, for a service whose requests come by other means than its socket
/// ([`Request::with_wait_report`](crate::Request::with_wait_report)).
#[derive(Clone, Debug)]
pub struct WaitReport(Arc<Held>);

impl WaitReport {
    pub(super) fn new() -> (Self, Arc<Held>) {
        let held: Arc<Held> = Arc::new(Held::new(()));
        (Self(Arc::clone(&held)), held)
    }

    /// The process that has the request, if its handler has said so: a program, or a worker.
    pub fn process(&self) -> Option<u32> {
        match self.0.waits_for() {
            Some(WaitsFor::Process(pid)) => Some(pid),
            _ => None,
        }
    }

    /// The descriptor of this process at whose far end a server has the request, if its handler has said so.
    pub fn descriptor(&self) -> Option<u32> {
        match self.0.waits_for() {
            Some(WaitsFor::Descriptor(fd)) => Some(fd),
            _ => None,
        }
    }

    /// Whether it waits until a program or a worker is free.
    pub fn is_queued(&self) -> bool {
        self.0.waits_for() == Some(WaitsFor::Place)
    }
}

impl fmt::Display for WaitsFor {
    /// As the control socket tells it, behind the rest of a connection's line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid) => write!(f, "process {pid}"),
            Self::Descriptor(fd) => write!(f, "descriptor {fd}"),
            Self::Place => f.write_str("place"),
            Self::Call(number) => write!(f, "call {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_handler_says_last_is_told() {
        let held = Arc::new(Held::new(()));
        assert_eq!(held.waits_for(), None);
        let telling = Telling::new(Some(Arc::clone(&held) as Arc<Held>));
        for what in [
            WaitsFor::Process(u32::MAX),
            WaitsFor::Descriptor(0),
            WaitsFor::Place,
            WaitsFor::Call(u32::MAX),
            WaitsFor::Descriptor(7),
        ] {
            telling.waits_for(what);
            assert_eq!(held.waits_for(), Some(what));
        }
        // As in a handler's own test.
        Telling::new(None).waits_for(WaitsFor::Place);
    }
}
