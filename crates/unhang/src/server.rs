//! A service as it is put together, its threads, and its end.

mod handle;
mod start;
mod threads;

use std::fmt;
use std::future::Future;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle as Runtime};
use tokio::sync::{oneshot, watch};

use crate::error::Error;
use crate::event::{Cause, Event};
use crate::gauges::Gauges;
use crate::handler::{Handler, Reply};
use crate::limits::Limits;
use crate::listen::{Bind, Listener};
use crate::serve::admission::Admission;
use crate::serve::caught::caught;
use crate::serve::config::Stop;
use crate::serve::events::{Filter, Observer};
use crate::signal::termination;
use crate::wire::lines::{Delimiter, Errors};
use crate::wire::oneshot::{OneShot, Until};
use crate::wire::{Goridge, Http, Lines, Wire};
use handle::Abort;
pub use handle::ServerHandle;
use threads::Signal;

/// How long the threads of the handlers have to end. One that a handler blocks would keep the process for
/// ever. Those that end meanwhile are joined: `pthread_detach` of glibc 2.36 reads the thread's record once
/// more after it has let the thread go, and crashes if that has ended by then. The soak saw it once in 20
/// minutes.
const LAST_THREADS: Duration = Duration::from_millis(100);

/// A service behind a Unix socket.
///
/// ```no_run
/// use std::time::Duration;
/// use unhang::{Error, Fault, Limits, Request, Server};
///
/// fn main() -> Result<(), Error> {
///     let mut limits = Limits::default();
///     limits.handler = Duration::from_secs(30);
///     Server::bind("/tmp/hello.sock")?.limits(limits).run(hello)
/// }
///
/// async fn hello(request: Request) -> Result<String, Fault> {
///     Ok(format!("hello, {}\n", request.text()))
/// }
/// ```
#[must_use = "a server serves only once it runs"]
pub struct Server {
    listener: Listener,
    limits: Limits,
    wire: Wire,
    refusal: Option<crate::serve::config::Refusal>,
    calls: Option<crate::serve::config::Calls>,
    admission: Admission,
    gauges: Gauges,
    observer: Option<Observer>,
    filter: Option<Filter>,
    names_peers: bool,
    threads: usize,
    stop: Arc<Stop>,
    stop_when: Option<Signal>,
    ended: watch::Sender<bool>,
}

impl Server {
    /// Listens at a path, or under an abstract name written `@name`, with the defaults of [`Bind`].
    ///
    /// # Errors
    /// As [`Bind::listen`].
    pub fn bind(name: impl AsRef<std::path::Path>) -> Result<Self, Error> {
        Bind::new(name).listen().map(Self::new)
    }

    /// Serves a socket that was made with other options.
    pub fn new(listener: Listener) -> Self {
        Self {
            listener,
            limits: Limits::default(),
            wire: Wire::OneShot(OneShot::new(Until::default())),
            refusal: None,
            calls: None,
            admission: Admission::default(),
            gauges: Gauges::default(),
            observer: None,
            filter: None,
            names_peers: false,
            threads: thread::available_parallelism().map_or(1, NonZero::get),
            stop: Stop::new(Instant::now()),
            stop_when: None,
            ended: watch::channel(false).0,
        }
    }

    /// Where a request ends; [`Until::Dry`] unless set.
    pub fn until(mut self, until: Until) -> Self {
        self.wire = Wire::OneShot(OneShot::new(until));
        self
    }

    /// Speaks in lines, and keeps the connection: each request ends with its delimiter, and so does each
    /// reply.
    pub fn lines(mut self, delimiter: Delimiter, errors: Errors) -> Self {
        self.wire = Wire::Lines(Lines::new(delimiter, errors));
        self
    }

    /// Speaks HTTP/1.1 (RFC 9112), and keeps the connection: the request's body is what the handler gets,
    /// and its reply the response's.
    pub fn http(mut self) -> Self {
        self.wire = Wire::Http(Http::default());
        self
    }

    /// Speaks Goridge's frames, and keeps the connection: for PHP's package `spiral/goridge`.
    pub fn goridge(mut self) -> Self {
        self.wire = Wire::Goridge(Goridge::default());
        self
    }

    /// The deadlines and limits; [`Limits::default`] unless set.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets only these users and groups ask: clients with one of the user ids, or one of the group ids
    /// as their effective group. Every other client is told `ERR not allowed`. With no id at all nobody may
    /// ask. If this is not called, the socket file's mode alone decides.
    pub fn allow(mut self, uids: impl Into<Vec<u32>>, gids: impl Into<Vec<u32>>) -> Self {
        self.admission.allow(uids.into(), gids.into());
        self
    }

    /// What a client is told that gets no answer, instead of the line `ERR <cause>`; `None`, or a
    /// panic, closes without a word. It is called on the threads that serve and keep the deadlines, so it
    /// must not block.
    pub fn refuse_with<F>(mut self, refusal: F) -> Self
    where
        F: Fn(&Cause) -> Option<Reply> + Send + Sync + 'static,
    {
        let refusal = move |cause: &Cause| caught(|| refusal(cause)).unwrap_or_default();
        self.refusal = Some(Box::new(refusal));
        self
    }

    /// Watches what happens, for a log or for counters. It is called on a thread of its own, some
    /// milliseconds later. If it is slow or blocks, nobody waits for it, and
    /// [`Event::Dropped`] counts what was not kept for it.
    pub fn observe(mut self, observer: impl FnMut(&Event) + Send + 'static) -> Self {
        self.filter = None;
        self.observer = Some(Box::new(observer));
        self
    }

    /// The same, for an observer that need not be told of everything. `filter` looks at each event first,
    /// on the thread on which it happens, and says whether the observer is to be told. All that serve wait
    /// for it, so it must neither block nor take long: it is for counters, and to hold back what nobody
    /// wants to know. To tell the observer costs some percent of a short exchange. If the filter panics,
    /// the observer is told.
    pub fn observe_some(
        mut self,
        filter: impl Fn(&Event) -> bool + Send + Sync + 'static,
        observer: impl FnMut(&Event) + Send + 'static,
    ) -> Self {
        self.filter = Some(Box::new(filter));
        self.observer = Some(Box::new(observer));
        self
    }

    /// Has every [`Exchange`](crate::Exchange) name the client's process, and not only one that got
    /// no answer. That is a system call for each (`SO_PEERCRED`), so it is not done unless it is wanted; a
    /// handler that asks its [`Request`](crate::Request) always learns it.
    pub fn name_peers(mut self) -> Self {
        self.names_peers = true;
        self
    }

    /// Says, within that time, what is known of a call on another machine, in lines; `None` if it is over. Its
    /// number is the one that the handler gave to [`Request::waits_for_call`](crate::Request::waits_for_call).
    /// `unhang why` asks, at the control socket. It may block: no client waits for it.
    pub fn tell_of_calls(
        mut self,
        teller: impl Fn(u32, Duration) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.calls = Some(Box::new(teller));
        self
    }

    /// How many threads accept and answer; as many as there are processors unless set, no more than half
    /// of [`Limits::max_connections`], and no more than 126. With none, one thread accepts, and hands every
    /// request to the runtime that [`serve`](Self::serve) is called on: for handlers that mostly
    /// block or compute.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// What the server holds while it serves.
    pub fn gauges(&self) -> Gauges {
        self.gauges.clone()
    }

    /// Stops the server from anywhere, and waits for its end.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(&self.stop, self.limits.drain, self.ended.subscribe())
    }

    /// Stops when `signal` is done, for example [`termination`](crate::termination): no new
    /// connection is let in, everything accepted or queued is answered within the drain deadline,
    /// and the socket is removed.
    ///
    /// The signal is awaited on a thread of its own, so that a runtime whose threads are all blocked can
    /// still be told to stop. If it panics, the server stops.
    pub fn stop_when(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop_when = Some(Box::pin(signal));
        self
    }

    /// Serves until the process is told to end: by SIGTERM, by SIGINT (Ctrl-C), or because its terminal
    /// was closed (SIGHUP); or as [`stop_when`](Self::stop_when) says. It makes a runtime for the handlers,
    /// and does not wait for those that are still at it when the server has ended.
    ///
    /// This is the whole of a service's `main`, which may return the error: it prints as a sentence.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub fn run(self, handler: impl Handler) -> Result<(), Error> {
        let address = self.listener.address().clone();
        let failed = |error| Error::setup(&address, "start the runtime of the handlers", error);
        let runtime = Builder::new_multi_thread().enable_all().build().map_err(failed)?;
        let server = if self.stop_when.is_none() {
            let _runtime = runtime.enter();
            self.stop_when(termination())
        } else {
            self
        };
        let served = runtime.block_on(server.serve(handler));
        runtime.shutdown_timeout(LAST_THREADS);
        served
    }

    /// Serves until it is stopped, on the runtime that this is called on. When the future is dropped, the
    /// server stops at once: before the drop returns, the socket is gone and can be bound again.
    ///
    /// Some threads, the [`threads`](Self::threads), accept and answer, and one keeps the deadlines. A
    /// handler begins on one of the threads; one that waits goes on as a task of the runtime. One that
    /// blocks holds up no deadline, and the other threads go on without it.
    ///
    /// # Errors
    /// [`ErrorKind::Setup`](crate::ErrorKind::Setup) when a thread cannot be started or ends by a
    /// panic. [`ErrorKind::NotReplaced`](crate::ErrorKind::NotReplaced) and
    /// [`ErrorKind::NotHandedOver`](crate::ErrorKind::NotHandedOver) when the server that this one was
    /// to [replace](Bind::replace) serves on; it has kept the socket.
    pub async fn serve(self, handler: impl Handler) -> Result<(), Error> {
        let (done, over) = oneshot::channel();
        // From here on the future must be dropped for the server to be stopped at once.
        let (abort, thread_over) = Abort::new(Arc::clone(&self.stop));
        let address = self.listener.address().clone();
        let handlers = Runtime::current();
        thread::Builder::new()
            .name("unhang".into())
            .spawn(move || {
                let _over = thread_over;
                // Nobody listens if the future of `serve` was dropped.
                let _ = done.send(self.serve_here(handler, handlers));
            })
            .map_err(|error| Error::setup(&address, "start the thread that serves", error))?;
        let served = over.await;
        abort.disarm();
        served.unwrap_or_else(|_| {
            let error = io::Error::other("the thread that serves panicked");
            Err(Error::setup(&address, "serve", error))
        })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", self.listener.address())
            .field("limits", &self.limits)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
