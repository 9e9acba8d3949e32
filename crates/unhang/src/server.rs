//! Accepting, and stopping: permit → accept → one task per connection; then the drain.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::connection::{Connection, Rules};
use crate::drain::{self, Drain, Stop};
use crate::error::Error;
use crate::event::{Cause, Event};
use crate::handler::{Fault, Handler, Peer, Reply, Request};
use crate::limits::{ACCEPT_PAUSE, Limits};
use crate::listener::{Bind, Listener};
use crate::stream::Socket;
use crate::wire::oneshot::{Until, error_line};

/// A service behind a Unix socket.
pub struct Server {
    listener: Listener,
    rules: Rules,
    observer: Observer,
    stop_when: Pin<Box<dyn Future<Output = ()> + Send>>,
}

type Observer = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

impl Server {
    /// Listens at a path, or under an abstract name written `@name`, with the defaults of [`Bind`].
    ///
    /// # Errors
    /// As [`Bind::listen`].
    pub fn bind(name: impl AsRef<Path>) -> Result<Self, Error> {
        Bind::new(name).listen().map(Self::new)
    }

    /// Serves a socket that was made with other options.
    pub fn new(listener: Listener) -> Self {
        Self {
            listener,
            rules: Rules {
                limits: Limits::default(),
                until: Until::default(),
                refusal: Box::new(|cause| Some(error_line(&cause.to_string()).into())),
            },
            observer: Arc::new(|_: &Event<'_>| {}),
            stop_when: Box::pin(std::future::pending()),
        }
    }

    /// Where a request ends; [`Until::Dry`] unless set.
    #[must_use]
    pub fn until(mut self, until: Until) -> Self {
        self.rules.until = until;
        self
    }

    /// The deadlines and limits; [`Limits::default`] unless set.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.rules.limits = limits;
        self
    }

    /// What a client is told that gets no answer, instead of the line `ERR <cause>`; `None` closes
    /// without a word.
    #[must_use]
    pub fn refuse_with<F>(mut self, refusal: F) -> Self
    where
        F: Fn(&Cause) -> Option<Reply> + Send + Sync + 'static,
    {
        self.rules.refusal = Box::new(refusal);
        self
    }

    /// Watches what happens, for a log or for counters. It is called on the thread that keeps the
    /// deadlines, so it must not block.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Stops when `signal` is done, for example [`termination`](crate::termination): no new
    /// connection is let in, everything accepted or queued is answered within the drain deadline,
    /// and the socket is removed.
    #[must_use]
    pub fn stop_when(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop_when = Box::pin(signal);
        self
    }

    /// Serves until it is stopped. Dropping the future stops at once.
    ///
    /// Connections are served on a thread of their own, and the handler runs on the runtime that
    /// this is called on: a handler that blocks cannot hold up a deadline.
    ///
    /// # Errors
    /// [`ErrorKind::Setup`](crate::ErrorKind::Setup) when that thread cannot be started or ends by a
    /// panic.
    pub async fn serve(self, handler: impl Handler) -> Result<(), Error> {
        let Self { listener, rules, observer, stop_when } = self;
        let address = listener.address().clone();
        let failed = |step: &'static str| {
            let address = &address;
            move |error: io::Error| Error::setup(address, step, error)
        };

        let (stop, drain) = drain::channel();
        let stop = Arc::new(stop);
        let _stop_at_once = StopOnDrop(Arc::clone(&stop));
        let permits = Arc::new(Semaphore::new(rules.limits.max_connections.clamp(1, MOST)));
        let service = Service {
            rules: Arc::new(rules),
            handler: Arc::new(handler),
            handlers: Handle::current(),
            observer,
            permits,
            drain,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed("start the event loop"))?;
        let (done, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("unhang".into())
            .spawn(move || {
                let served = runtime.block_on(service.run(listener, stop, stop_when));
                // Nobody listens when the future of `serve` was dropped.
                let _ = done.send(served);
            })
            .map_err(failed("start the thread that serves"))?;
        match ended.await {
            Ok(served) => served.map_err(failed("watch the socket")),
            Err(_) => Err(failed("serve")(io::Error::other("the thread that serves panicked"))),
        }
    }
}

/// More connections than a process may have descriptors, by far, and within what a semaphore and
/// `acquire_many` can count.
const MOST: usize = 1 << 24;

struct StopOnDrop(Arc<Stop>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.begin(std::time::Duration::ZERO);
    }
}

/// Whether new connections can still enter the accept queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
}

/// What the accept loop and all connections share.
struct Service<H> {
    rules: Arc<Rules>,
    handler: Arc<H>,
    /// Where handlers run.
    handlers: Handle,
    observer: Observer,
    /// One per connection, held until it has ended.
    permits: Arc<Semaphore>,
    drain: Drain,
}

impl<H: Handler> Service<H> {
    async fn run(
        self,
        listener: Listener,
        stop: Arc<Stop>,
        stop_when: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let queue = listener.watch()?;
        let within = self.rules.limits.drain;
        tokio::spawn(async move {
            stop_when.await;
            stop.begin(within);
        });

        let mut drain = self.drain.clone();
        tokio::select! {
            biased;
            () = drain.begun() => {}
            () = self.accept_all(&listener, &queue, Door::Open) => {}
        }

        listener.close_door();
        let most = self.rules.limits.max_connections.clamp(1, MOST);
        let open = most - self.permits.available_permits();
        tell(&self.observer, &Event::Draining { open, within });
        tokio::select! {
            biased;
            () = self.accept_all(&listener, &queue, Door::Closed) => {}
            () = drain.over() => {}
        }
        // All permits are back when the last connection has ended; no connection outlasts the drain.
        let _ = self.permits.acquire_many(u32::try_from(most).unwrap_or(u32::MAX)).await;
        Ok(())
    }

    /// Accepts for ever, or, once nobody can connect any more, until the queue is empty. No failure
    /// ends it before.
    async fn accept_all(&self, listener: &Listener, queue: &UnixStream, door: Door) {
        let mut failing = false;
        loop {
            // First the permit: who cannot be served yet waits in the accept queue.
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
            let connection = loop {
                match listener.accept() {
                    Ok(connection) => break connection,
                    Err(Errno::INTR | Errno::CONNABORTED) => {}
                    Err(Errno::AGAIN) if door == Door::Closed => return,
                    Err(Errno::AGAIN) => wait(queue).await,
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            tell(&self.observer, &Event::AcceptFailed(&error.into()));
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            };
            failing = false;
            self.admit(connection, permit);
        }
    }

    fn admit(&self, connection: OwnedFd, permit: OwnedSemaphorePermit) {
        let peer = peer(&connection);
        let connection =
            Connection::new(Socket::new(connection), Arc::clone(&self.rules), self.drain.clone());
        let handler = Arc::clone(&self.handler);
        let handlers = self.handlers.clone();
        let observer = Arc::clone(&self.observer);
        tokio::spawn(async move {
            let answer = |request| isolated(handlers, handler, request);
            let exchange = connection.run(peer, answer).await;
            tell(&observer, &Event::Exchange(&exchange));
            drop(permit);
        });
    }
}

/// Waits until there may be something to accept. What it knew of before is forgotten here, and the
/// next accept looks: what comes in between wakes the next wait.
async fn wait(queue: &UnixStream) {
    let forgotten = async {
        queue.readable().await?;
        queue.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()))
    };
    match forgotten.await {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        _ => {}
    }
}

/// Who connected. Not by rustix, which takes the process id for non-zero: it is 0 for a client from
/// outside of our process-id namespace.
fn peer(connection: &OwnedFd) -> Option<Peer> {
    let credentials = getsockopt(connection, PeerCredentials).ok()?;
    Some(Peer {
        pid: credentials.pid().try_into().unwrap_or(0),
        uid: credentials.uid(),
        gid: credentials.gid(),
    })
}

/// An observer that panics costs its own line, and no connection.
fn tell(observer: &Observer, event: &Event<'_>) {
    let _ = catch_unwind(AssertUnwindSafe(|| observer(event)));
}

/// Runs the handler as a task of the caller's runtime. Dropped, it is ended at its next `.await`.
async fn isolated<H: Handler>(
    handlers: Handle,
    handler: Arc<H>,
    request: Request,
) -> Result<Reply, Fault> {
    let mut task = AbortOnDrop(handlers.spawn(async move { handler.handle(request).await }));
    match (&mut task.0).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(Fault::panicked(message(panic.as_ref()))),
            Err(cancelled) => Err(cancelled.into()),
        },
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What `panic!` was given: a `&str` or a `String`, unless it was `panic_any`.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
