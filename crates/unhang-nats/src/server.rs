//! The service's side: takes calls from NATS, as many as it has places, and answers each.

mod intake;
mod running;
mod shared;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use unhang::{Handler, Limits, WaitReport};

use crate::access::Access;
use crate::address::Address;
use crate::door::CannotStart;
use crate::link::Link;
use crate::nodes::Nodes;
use crate::notice::{Notice, Notices};
use crate::protocol;
pub use shared::Counts;
use shared::{Shared, Teller, lock};

/// Two connections, to two nodes: one that goes away or hangs takes no calls with it but those under way.
const LINKS: usize = 2;

/// Calls at once. NATS chooses workers by chance, so a worker with few places is often found busy.
const PLACES: usize = 64;

/// So many looks at this machine at once, for doors that ask what a call waits for.
const LOOKS: usize = 4;

/// Serves a service's subject. Answers come from a [`Handler`], as on a Unix socket; what it gets is the
/// bytes of the request, the user id of the client at the door
/// ([`Request::peer`](unhang::Request::peer)), and the headers `unhang-id` and `traceparent`.
///
/// The user id is what the door says. Only if the cluster's permissions let nobody but doors ask the
/// service is it to be trusted.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use unhang::{Fault, Request};
/// async fn hello(request: Request) -> Result<String, Fault> {
///     Ok(format!("hello, {}\n", request.text()))
/// }
/// let server = unhang_nats::Server::new("nats://n1,n2,n3/app".parse()?);
/// server.stop_when(unhang::termination()).serve(hello).await?;
/// # Ok(()) }
/// ```
#[must_use = "a server serves only once it runs"]
pub struct Server {
    address: Address,
    access: Access,
    places: usize,
    deadline: Duration,
    drain: Duration,
    name: String,
    clock_ahead: i64,
    notices: Notices,
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    counts: Counts,
    teller: Option<Teller>,
}

impl Server {
    /// Of that service.
    pub fn new(address: Address) -> Self {
        let limits = Limits::default();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            address,
            access: Access::default(),
            places: PLACES,
            deadline: limits.handler,
            drain: limits.drain,
            name: protocol::worker_name(host.trim(), std::process::id()),
            clock_ahead: 0,
            notices: Notices::default(),
            stop: None,
            counts: Counts::default(),
            teller: None,
        }
    }

    /// With what it comes to the cluster.
    pub fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Calls at once; more are told that it is busy, and go to another. Unless set, 64.
    pub fn places(self, places: usize) -> Self {
        Self { places: places.clamp(1, Semaphore::MAX_PERMITS), ..self }
    }

    /// How long a call may take at most, whatever its door allows. Unless set, [`Limits::handler`].
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How long the calls under way may take once it is to stop. Unless set, [`Limits::drain`].
    pub fn drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// Stops when this is done: takes no more calls, answers those that it has, and ends.
    pub fn stop_when(self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { stop: Some(Box::pin(signal)), ..self }
    }

    /// Hears of what the operator should know. It is called where calls are served, and must not block.
    pub fn notices(self, listener: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self { notices: Notices::to(listener), ..self }
    }

    /// The name by which doors know it: machine, process, four letters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many calls it has.
    pub fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// Says, within that time, what a call waits for, in lines: `unhang why` at the door asks. It is called on a
    /// thread that may block.
    pub fn tell_of_waits(
        self,
        teller: impl Fn(&WaitReport, Duration) -> String + Send + Sync + 'static,
    ) -> Self {
        Self { teller: Some(Arc::new(teller)), ..self }
    }

    /// For tests: a clock that is ahead by so many milliseconds.
    #[doc(hidden)]
    pub fn clock_ahead(self, clock_ahead: i64) -> Self {
        Self { clock_ahead, ..self }
    }

    /// Serves until it is stopped. While no node can be reached it tries again, and serves nobody. When the
    /// future is dropped, it stops at once, as a crash would.
    ///
    /// Handlers run on the runtime that this is called on. All else is on a thread of its own: a handler that
    /// blocks keeps no door waiting for the word that its call was accepted.
    ///
    /// # Errors
    /// [`CannotStart`], for what no later try could mend.
    pub async fn serve(self, handler: impl Handler) -> Result<(), CannotStart> {
        let handlers = Handle::current();
        let (done, over) = oneshot::channel();
        let (_alive, dropped) = oneshot::channel::<()>();
        let failed = |what: &str, error: std::io::Error| CannotStart(format!("{what}: {error}"));
        let serves = move || {
            let served = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(async {
                    tokio::select! {
                        served = self.serve_here(handler, handlers) => served,
                        _ = dropped => Ok(()),
                    }
                }),
                Err(error) => Err(failed("cannot start the event loop", error)),
            };
            // Nobody listens if the future of `serve` was dropped.
            let _ = done.send(served);
        };
        let thread = std::thread::Builder::new().name("unhang-nats".into()).spawn(serves);
        thread.map_err(|error| failed("cannot start a thread", error))?;
        over.await.unwrap_or_else(|_| Err(CannotStart("the thread that serves panicked".into())))
    }

    async fn serve_here(self, handler: impl Handler, handlers: Handle) -> Result<(), CannotStart> {
        let nodes = Arc::new(Nodes::new(self.address.nodes().to_vec()));
        let (stopping, _) = watch::channel(false);
        let shared = Arc::new(Shared {
            handler,
            handlers,
            subject: protocol::service_subject(self.address.service()),
            name: self.name,
            deadline: self.deadline,
            clock_ahead: self.clock_ahead,
            notices: self.notices.clone(),
            places: Arc::new(Semaphore::new(self.places)),
            counts: self.counts,
            running: Mutex::default(),
            teller: self.teller,
            looks: Arc::new(Semaphore::new(LOOKS)),
            started: Mutex::default(),
            direct: Mutex::default(),
            stopping,
            over: watch::Sender::new(false),
            links: Mutex::default(),
        });
        let mut intakes = JoinSet::new();
        for number in 1..=LINKS {
            let options = self.access.options(&self.address)?;
            let inbox = format!("{}.{}.{number}", protocol::WORKER_INBOX, shared.name);
            let (nodes, notices) = (Arc::clone(&nodes), self.notices.clone());
            let opened = Link::open(number, &self.address, options, inbox, nodes, notices).await;
            let (link, _) = opened.map_err(CannotStart)?;
            lock(&shared.links).push(link.clone());
            let questions = link.client.subscribe(protocol::worker_subject(&shared.name)).await;
            let questions = questions.map_err(|error| CannotStart(error.to_string()))?;
            tokio::spawn(Arc::clone(&shared).tell_of_calls(link.clone(), questions));
            tokio::spawn(Arc::clone(&shared).take_direct(link.clone()));
            intakes.spawn(Arc::clone(&shared).take_calls(link));
        }
        match self.stop {
            Some(stop) => stop.await,
            None => std::future::pending().await,
        }
        shared.stop(self.drain, intakes).await;
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}
