//! What serving needs of its machine: sockets, a poller for each thread, a clock, a place where handlers
//! run. A simulated one stands in where time and order matter.

use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::serve::stream::{Interest, Stream};

pub(crate) trait System: Sized + Send + Sync + 'static {
    type Stream: Stream;
    type Listener: Queue<Stream = Self::Stream>;
    type Poller: Poller<Self>;

    /// The one clock, for stamps and deadlines.
    fn now(&self) -> Instant;

    fn poller(&self) -> io::Result<Self::Poller>;

    /// Runs what is left of a handler.
    fn spawn(&self, task: Task) -> Box<dyn Abort>;

    /// Lets another thread have the processor.
    fn pause(&self);
}

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ends a handler that goes on elsewhere, at its next `.await`.
pub(crate) trait Abort: Send {
    fn abort(&self);
}

/// The listener, as far as serving needs it.
pub(crate) trait Queue: Send + Sync + 'static {
    type Stream;

    /// Takes the connection that has waited longest, without a wait.
    fn accept(&self) -> rustix::io::Result<Self::Stream>;

    /// Whether a client is in the accept queue; always, once it is shut.
    fn has_waiting(&self) -> bool;

    /// Whether no client can connect any more.
    fn is_shut(&self) -> bool;

    /// Lets no client connect any more; those in the queue can still be accepted. False if the queue goes
    /// on with another server, which then serves them. None as long as that is not known.
    fn close(&self) -> Option<bool>;
}

/// Where a thread waits for its listener, its connections and its waker.
pub(crate) trait Poller<Y: System>: Send + Sync + 'static {
    /// Reports a stream once, or each time ([`Interest::EachRead`]). `again`: it is known already.
    fn watch(
        &self,
        stream: &Y::Stream,
        number: u64,
        interest: Interest,
        again: bool,
    ) -> io::Result<()>;

    /// Reports this stream no more.
    fn forget(&self, stream: &Y::Stream);

    /// Reports clients as long as there are any. `alone`: of all pollers that watch so, the kernel wakes
    /// one.
    fn watch_clients(&self, listener: &Y::Listener, alone: bool) -> io::Result<()>;

    fn forget_clients(&self, listener: &Y::Listener);

    /// Reports another poller as long as it has something to report.
    fn watch_worker(&self, poller: &Self, worker: usize) -> io::Result<()>;

    fn forget_worker(&self, poller: &Self);

    /// Ends its present wait, or the next one.
    fn wake(&self);

    /// Waits until there is something to report, or for so long.
    fn wait(&self, ready: &mut Vec<Ready>, within: Option<Duration>);
}

/// What a poller reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Clients wait in the accept queue.
    Clients,
    /// The connection that is parked under this number.
    Connection(u64),
    /// The poller of this worker.
    Worker(usize),
    Woken,
}
