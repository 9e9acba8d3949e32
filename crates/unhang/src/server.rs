//! A service as it is put together, and the thread that it is served on.

use std::future::Future;
use std::io;
use std::num::NonZero;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

use crate::budget::Budget;
use crate::error::Error;
use crate::event::{Cause, Event};
use crate::gauges::Gauges;
use crate::handler::{Handler, Peer, Reply};
use crate::isolate::caught;
use crate::limits::Limits;
use crate::listen::control::Asked;
use crate::listen::{Bind, Listener};
use crate::queue::Watched;
use crate::serve::admission::{Admission, Places};
use crate::serve::config::{self, Stop};
use crate::serve::connection::Rules;
use crate::serve::door::{Observer, Service};
use crate::serve::parked;
use crate::serve::watchdog;
use crate::serve::worker;
use crate::shards::Shards;
use crate::spare::Spare;
use crate::thinking::{self, Thinking};
use crate::wire::oneshot::{Until, error_line};

/// A service behind a Unix socket.
pub struct Server {
    listener: Listener,
    rules: Rules,
    admission: Admission,
    gauges: Gauges,
    observer: Observer,
    names_peers: bool,
    shards: usize,
    stop: Stop,
    stop_when: Pin<Box<dyn Future<Output = ()> + Send>>,
}

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
        let gauges = Gauges::default();
        let (stop, drain) = config::channel();
        Self {
            listener,
            rules: Rules {
                budget: Budget::new(Limits::default().max_held, gauges.held()),
                limits: Limits::default(),
                until: Until::default(),
                refusal: Arc::new(|cause| Some(error_line(&cause.to_string()).into())),
                drain,
                in_flight: Arc::default(),
            },
            admission: Admission::default(),
            gauges,
            observer: Arc::new(|_: &Event<'_>| {}),
            names_peers: false,
            shards: std::thread::available_parallelism().map_or(1, NonZero::get),
            stop,
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
        self.rules.budget = Budget::new(limits.max_held, self.gauges.held());
        self.rules.limits = limits;
        self
    }

    /// Lets only these users and groups ask: whoever has one of the user ids, or one of the group ids
    /// as its effective group. Everybody else is told `ERR not allowed`. With no id at all, the
    /// socket file's mode alone decides, as when this is not called.
    #[must_use]
    pub fn allow(mut self, uids: impl Into<Vec<u32>>, gids: impl Into<Vec<u32>>) -> Self {
        self.admission.allow(uids.into(), gids.into());
        self
    }

    /// What a client is told that gets no answer, instead of the line `ERR <cause>`; `None`, or a
    /// panic, closes without a word. It is called where an [observer](Self::observe) is, and must not
    /// block either.
    #[must_use]
    pub fn refuse_with<F>(mut self, refusal: F) -> Self
    where
        F: Fn(&Cause) -> Option<Reply> + Send + Sync + 'static,
    {
        // Where it is called there is a thread that all depend on.
        let refusal = move |cause: &Cause| caught(|| refusal(cause));
        self.rules.refusal = Arc::new(move |cause| refusal(cause).unwrap_or_default());
        self
    }

    /// Watches what happens, for a log or for counters. It is called on the threads that serve, that
    /// keep the deadlines and that handlers run on, so it must not block.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Has every [`Exchange`](crate::Exchange) say who the client was, and not only one that got no
    /// answer. That is a system call for each (`SO_PEERCRED`), and so is not done unless somebody
    /// wants it; a handler that asks its [`Request`](crate::Request) always learns it.
    #[must_use]
    pub fn name_peers(mut self) -> Self {
        self.names_peers = true;
        self
    }

    /// How many threads accept and answer; as many as there are processors unless set, and no more
    /// than half of [`Limits::max_connections`]. With none, one thread accepts, and hands every
    /// request to the runtime that [`serve`](Self::serve) is called on: for handlers that mostly
    /// block or compute.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// What the server holds while it serves.
    pub fn gauges(&self) -> Gauges {
        self.gauges.clone()
    }

    /// Stops when `signal` is done, for example [`termination`](crate::termination): no new
    /// connection is let in, everything accepted or queued is answered within the drain deadline,
    /// and the socket is removed.
    ///
    /// The signal is awaited on the thread that keeps the deadlines, so that a runtime whose threads
    /// are all blocked can still be told to stop: it must not block. What it leaves to
    /// `spawn_blocking` (reading standard input, say) is waited for when the server ends.
    #[must_use]
    pub fn stop_when(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.stop_when = Box::pin(signal);
        self
    }

    /// Serves until it is stopped. Dropping the future stops at once.
    ///
    /// One thread keeps the deadlines, and some more, the [shards](Self::shards), accept and answer.
    /// A handler begins on a shard; one that waits goes on as a task of the runtime that this is
    /// called on. One that blocks holds up no deadline, and the other shards go on without it.
    ///
    /// # Errors
    /// [`ErrorKind::Setup`](crate::ErrorKind::Setup) when a thread cannot be started or ends by a
    /// panic. [`ErrorKind::NotReplaced`](crate::ErrorKind::NotReplaced) and
    /// [`ErrorKind::NotHandedOver`](crate::ErrorKind::NotHandedOver) when the server that this one was
    /// to [replace](Bind::replace) serves on; it has kept the socket.
    pub async fn serve(self, handler: impl Handler) -> Result<(), Error> {
        let Self { listener, rules, observer, stop, stop_when, .. } = self;
        let address = listener.address().clone();
        let failed = |step: &'static str| {
            let address = &address;
            move |error: io::Error| Error::setup(address, step, error)
        };

        let stop = Arc::new(stop);
        let _stop_at_once = StopOnDrop(Arc::clone(&stop));
        let (mut runtime, waiting_room) =
            Unstarted::new().map_err(failed("start the event loop"))?;
        // Each shard needs a place of its own, and somewhere to go on with what waits.
        let count = self.shards.min(rules.limits.max_connections / 2);
        let service = Service {
            places: Arc::new(Places::new(&rules.limits)),
            rules: Arc::new(rules),
            admission: Arc::new(self.admission),
            gauges: self.gauges,
            handler: Arc::new(handler),
            handlers: Handle::current(),
            waiting_room,
            thinking: Arc::new(Thinking::new()),
            observer: Arc::clone(&observer),
            names_peers: self.names_peers,
        };
        let listener = Arc::new(listener);
        let shards =
            worker::start(count, &service, &listener).map_err(failed("start the shards"))?;
        let (done, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("unhang".into())
            .spawn(move || {
                let Some(runtime) = runtime.0.take() else { return };
                let served = runtime.block_on(async {
                    let watch_fails =
                        |error| Error::setup(listener.address(), "watch the socket", error);
                    let queue = Watched::new(Arc::clone(&listener), Arc::clone(&observer))
                        .map_err(watch_fails)?;
                    let watch = shards.all().idle.watch().map_err(watch_fails)?;
                    let spare = Spare::new().map_err(|error| {
                        Error::setup(listener.address(), "keep a spare descriptor", error)
                    })?;
                    listener.serve_instead()?;
                    let service = Arc::new(service);
                    let keeper = watchdog::look_after(
                        Arc::clone(&service),
                        Arc::clone(shards.all()),
                        Arc::downgrade(&listener),
                    );
                    tokio::spawn(keeper);
                    let all = Arc::clone(shards.all());
                    tokio::spawn(parked::look_after(Arc::clone(&service), all, watch));
                    tokio::spawn(thinking::look_after(Arc::clone(&service)));
                    let asked: Arc<dyn Asked> = Arc::new(Answers {
                        service: Arc::clone(&service),
                        shards: Arc::clone(shards.all()),
                        stop: Arc::clone(&stop),
                    });
                    let _answering = listener.answer(Arc::downgrade(&asked)).map_err(|error| {
                        let step = "start the thread that answers at the control socket";
                        Error::setup(listener.address(), step, error)
                    })?;
                    drop(listener);
                    service.run(queue, spare, shards.all(), stop, stop_when).await;
                    Ok(())
                });
                drop(shards);
                // It holds the lock until its last task is gone.
                drop(runtime);
                // Nobody listens when the future of `serve` was dropped.
                let _ = done.send(served);
            })
            .map_err(failed("start the thread that serves"))?;
        match ended.await {
            Ok(served) => served,
            Err(_) => Err(failed("serve")(io::Error::other("the thread that serves panicked"))),
        }
    }
}

/// A runtime until it runs. To drop one waits for its threads, which panics on another runtime's.
struct Unstarted(Option<Runtime>);

impl Unstarted {
    fn new() -> io::Result<(Self, Handle)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok((Self(Some(runtime)), handle))
    }
}

impl Drop for Unstarted {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What is said and done at the control socket.
struct Answers<H> {
    service: Arc<Service<H>>,
    shards: Arc<Shards>,
    stop: Arc<Stop>,
}

impl<H: Handler> Asked for Answers<H> {
    fn waits(&self) -> Option<String> {
        let Rules { until, limits, in_flight, .. } = &*self.service.rules;
        let until = match until {
            Until::Dry => "dry",
            Until::Newline => "newline",
            Until::HalfClose => "half-close",
        };
        let (waits, idle) = (in_flight.lines(), self.shards.idle.lines(limits.read));
        let thinking = self.service.thinking.lines(limits.handler);
        let blocked = self.shards.blocked(limits.handler);
        Some(format!("until {until}\n{waits}{idle}{thinking}{blocked}"))
    }

    fn replaced(&self, by: Option<Peer>) {
        self.service.tell(&Event::Replaced { by });
        self.stop.begin(self.service.rules.limits.drain);
    }

    fn not_replaced(&self, by: Option<Peer>, error: &io::Error) {
        self.service.tell(&Event::NotReplaced { by, error });
    }
}

struct StopOnDrop(Arc<Stop>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.begin(std::time::Duration::ZERO);
    }
}
