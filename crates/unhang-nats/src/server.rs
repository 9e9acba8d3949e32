//! The service's side: takes calls from NATS, as many as it has places, and answers each.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{HeaderValue, Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};
use unhang::{Cause, Fault, Handler, Limits, Peer, Reply, Request};

use crate::access::Access;
use crate::address::Address;
use crate::door::{CannotStart, fits, millis, wall};
use crate::link::{LEAVE, Link, Standing};
use crate::nodes::Nodes;
use crate::notice::{Notice, Notices};
use crate::protocol::{self, Id, Question, Word};

const LINKS: usize = 2;

/// A worker that has not answered by then says that it is at it. A shorter call costs one message less.
const MOMENT: Duration = Duration::from_millis(20);

/// Calls at once. NATS chooses workers by chance, so a worker with few places is often found busy.
const PLACES: usize = 64;

/// How long it is waited for what a node has sent before it knew that no more is wanted.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Within this time all services leave a node that goes away; it gives them 10 s unless it is configured otherwise.
const SCATTER: Duration = Duration::from_secs(2);

/// More messages than any subscription gets: nats-server reads no number of more than nine digits here
/// (`maxParseSizeLen` in server/util.go), and takes the subscription away at once. async-nats keeps it open
/// and so hands on what is under way; its own `drain` drops what comes after its next read.
const PAST_ANY: u64 = 10_000_000_000;

/// Serves a service's subject. Answers come from a [`Handler`], as on a Unix socket; what it gets is the
/// bytes of the request, the user id of the client at the door ([`Request::peer`]), and the headers
/// `unhang-id` and `traceparent`.
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
}

/// How many calls a server has, read from anywhere.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<AtomicUsize>);

impl Counts {
    /// Calls under way.
    pub fn running(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
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
            started: Mutex::default(),
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

struct Shared<H> {
    handler: H,
    /// What it runs on.
    handlers: Handle,
    subject: String,
    name: String,
    deadline: Duration,
    clock_ahead: i64,
    notices: Notices,
    places: Arc<Semaphore>,
    counts: Counts,
    running: Mutex<HashMap<Id, Instant>>,
    /// Calls that were started, and until when the same could be started once more: it is a copy, and no
    /// door makes one.
    started: Mutex<HashMap<Id, u64>>,
    stopping: watch::Sender<bool>,
    /// The drain is over: calls under way are told so.
    over: watch::Sender<bool>,
    links: Mutex<Vec<Link>>,
}

impl<H: Handler> Shared<H> {
    /// Takes calls from one connection, whatever node it is on.
    async fn take_calls(self: Arc<Self>, link: Link) {
        let mut stopping = self.stopping.subscribe();
        let mut standings = link.standings();
        loop {
            let Ok(calls) =
                link.client.queue_subscribe(self.subject.clone(), protocol::QUEUE.into()).await
            else {
                return;
            };
            let mut calls = calls;
            let leaves = tokio::select! {
                () = self.take_all(&link, &mut calls) => return,
                _ = stopping.wait_for(|stops| *stops) => false,
                leaves = standings.wait_for(|it| it.is_up && it.is_leaving) => leaves.is_ok(),
            };
            if leaves {
                // Not all services at once: as long as one is left on that node, it takes what is on the way there.
                let wait = Duration::from_millis(fastrand::u64(..millis(SCATTER)));
                let stops = stopping.wait_for(|stops| *stops);
                let goes_on = self.take_all(&link, &mut calls);
                tokio::select! {
                    () = goes_on => return,
                    _ = stops => {}
                    () = sleep(wait) => {}
                }
            }
            let epoch = link.standing().epoch;
            self.take_last(&link, &mut calls).await;
            drop(calls);
            if !leaves {
                return;
            }
            let until = Instant::now() + LEAVE;
            while link.open_calls().load(Ordering::SeqCst) > 0 && Instant::now() < until {
                sleep(Duration::from_millis(5)).await;
            }
            // The answers have to be with the node before it is left.
            link.round_trip(LAST_CALLS).await;
            if link.standing().epoch == epoch {
                link.move_away().await;
            }
            let moved = standings.wait_for(|it: &Standing| it.epoch != epoch);
            tokio::select! {
                moved = moved => if moved.is_err() { return },
                _ = stopping.wait_for(|stops| *stops) => return,
            }
        }
    }

    async fn take_all(self: &Arc<Self>, link: &Link, calls: &mut Subscriber) {
        while let Some(message) = calls.next().await {
            self.take(link, message);
        }
    }

    /// No more is to come; what is under way is taken, as nobody else would get it.
    async fn take_last(self: &Arc<Self>, link: &Link, calls: &mut Subscriber) {
        if !link.standing().is_up || calls.unsubscribe_after(PAST_ANY).await.is_err() {
            return;
        }
        tokio::select! {
            () = self.take_all(link, calls) => return,
            _ = link.round_trip(LAST_CALLS) => {}
        }
        // The node answers in order: what it had sent before is read, and lies here.
        while let Some(Some(message)) = calls.next().now_or_never() {
            self.take(link, message);
        }
    }

    fn take(self: &Arc<Self>, link: &Link, message: Message) {
        let Some(reply) = message.reply.map(|reply| reply.as_str().to_owned()) else {
            return self.refuse("it names no subject for its reply");
        };
        if !protocol::is_inbox(&reply) {
            return self.refuse(&format!("its reply would go to {reply:?}, which is no inbox"));
        }
        let headers = message.headers.unwrap_or_default();
        let question = Question::read(|name| headers.get(name).map(HeaderValue::as_str));
        let answer = Answer { shared: Arc::clone(self), link: link.clone(), reply };
        let question = match question {
            Ok(question) => question,
            Err(what) => {
                self.refuse(&what);
                return answer.say_soon(self.failed("handler_failed"), what.into());
            }
        };
        match self.admit(&question) {
            Ok(place) => {
                let served = Arc::clone(self).serve(answer, question, message.payload, place);
                tokio::spawn(served);
            }
            Err(word) => {
                let outcome = match word {
                    Word::Busy { .. } => "busy",
                    Word::Late { .. } => "late",
                    Word::Stopping { .. } => "stopping",
                    _ => "refused",
                };
                self.tell(&question, outcome, None, (message.payload.len(), 0), Duration::ZERO);
                answer.say_soon(word, Bytes::new());
            }
        }
    }

    /// A place for the call, or why it is not run.
    fn admit(&self, question: &Question) -> Result<OwnedSemaphorePermit, Word> {
        let worker = self.name.clone();
        let now = self.wall();
        let farthest = now.saturating_add(millis(protocol::FARTHEST));
        if now > question.by || question.by > farthest {
            return Err(Word::Late { worker, at: now });
        }
        if *self.over.borrow() {
            return Err(Word::Stopping { worker });
        }
        let mut started = lock(&self.started);
        if !question.is_idempotent && started.contains_key(&question.id) {
            return Err(self.failed("handler_failed"));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Word::Busy { worker })?;
        if started.len() >= 1024 && started.len().is_power_of_two() {
            started.retain(|_, by| *by >= now);
        }
        started.insert(question.id, question.by);
        Ok(place)
    }

    async fn serve(
        self: Arc<Self>,
        answer: Answer<H>,
        question: Question,
        payload: Bytes,
        place: OwnedSemaphorePermit,
    ) {
        let begun = Instant::now();
        let bytes_in = payload.len();
        let _open = Open::new(&self, &answer.link, question.id, begun);
        let (fault, bytes_out) = match self.run(&answer, &question, payload).await {
            Ok(reply) => {
                let most = answer.link.client.max_payload();
                match fits(&[], reply.len(), most) {
                    true => {
                        let length = reply.len();
                        let error = answer.say(&Word::Answer, reply).await.err();
                        (error.map(|error| ("not_sent", error)), length)
                    }
                    false => (Some(self.too_large(&answer, reply.len(), most).await), 0),
                }
            }
            Err(fault) => {
                let cause = Cause::HandlerFailed(fault.clone());
                let (code, told) = (cause.code(), cause.to_string());
                let said = answer.say(&self.failed(code), Bytes::from(told)).await.err();
                let why = said.map_or(fault.to_string(), |error| format!("{fault}; {error}"));
                (Some((code, why)), 0)
            }
        };
        drop(place);
        let (outcome, why) = fault.map_or(("answered", None), |(code, why)| (code, Some(why)));
        self.tell(&question, outcome, why, (bytes_in, bytes_out), begun.elapsed());
    }

    async fn too_large(
        &self,
        answer: &Answer<H>,
        length: usize,
        most: usize,
    ) -> (&'static str, String) {
        const CODE: &str = "backend_reply_too_large";
        let told = format!(
            "the reply of {length} bytes is larger than NATS takes ({most} bytes); the request has run. Raise \
             max_payload of nats-server, to 8 MiB at most"
        );
        let _ = answer.say(&self.failed(CODE), Bytes::from(told.clone())).await;
        (CODE, told)
    }

    /// Runs the handler, within the time that the door has left it.
    async fn run(
        self: &Arc<Self>,
        answer: &Answer<H>,
        question: &Question,
        payload: Bytes,
    ) -> Result<Bytes, Fault> {
        let allowed = question.left.min(self.deadline);
        let until = tokio::time::Instant::now() + allowed;
        let peer = question.peer.map(|uid| Peer { pid: 0, uid, gid: u32::MAX });
        let mut request = Request::new(payload.to_vec(), peer);
        drop(payload);
        request = request.with_header(protocol::ID, &question.id.to_string());
        if let Some(trace) = &question.trace {
            request = request.with_header(protocol::TRACE, trace);
        }
        let shared = Arc::clone(self);
        let most = answer.link.client.max_payload();
        // A task of its own: its panic is its own, and it can be given up.
        let mut work = self.handlers.spawn(async move {
            let reply: Reply = shared.handler.handle(request).await?;
            reply.collect(most.saturating_mul(2)).await
        });
        let given_up = GiveUp(work.abort_handle());
        let mut over = self.over.subscribe();
        let over = async move { over.wait_for(|over| *over).await.is_ok() };
        tokio::pin!(over);
        let mut is_told = false;
        let accepted = sleep(MOMENT);
        tokio::pin!(accepted);
        loop {
            tokio::select! {
                done = &mut work => {
                    return match done {
                        Ok(done) => done,
                        Err(error) if error.is_panic() => {
                            Err(Fault::new("the handler panicked").with_code("handler_panicked"))
                        }
                        Err(_) => Err(Fault::new("the handler was ended")),
                    };
                }
                () = &mut accepted, if !is_told => {
                    is_told = true;
                    let word = Word::Accepted { worker: self.name.clone(), at: self.wall() };
                    // If it does not come, the door takes the call for lost, and the answer still counts.
                    let _ = answer.say(&word, Bytes::new()).await;
                }
                () = sleep_until(until) => {
                    drop(given_up);
                    let told = format!("the worker took longer than {allowed:.1?}");
                    return Err(Fault::new(told).with_code("backend_late"));
                }
                _ = &mut over => {
                    drop(given_up);
                    let told = "the worker stopped before the answer was ready; the request may have run";
                    return Err(Fault::new(told).with_code("stopping"));
                }
            }
        }
    }

    /// Answers doors that ask whether a call is still under way.
    async fn tell_of_calls(self: Arc<Self>, link: Link, mut questions: Subscriber) {
        while let Some(message) = questions.next().await {
            let reply = message.reply.map(|reply| reply.as_str().to_owned());
            let Some(reply) = reply.filter(|reply| protocol::is_inbox(reply)) else { continue };
            let headers = message.headers.unwrap_or_default();
            let id = headers.get(protocol::ID).and_then(|id| Id::parse(id.as_str()));
            let is_running = id.is_some_and(|id| lock(&self.running).contains_key(&id));
            let word = if is_running { Word::Running } else { Word::Unknown };
            let _ = link.publish(reply, None, &word.headers(), Bytes::new()).await;
        }
    }

    async fn stop(&self, drain: Duration, mut intakes: JoinSet<()>) {
        self.notices.tell(Notice::Draining { open: self.counts.running() });
        self.stopping.send_replace(true);
        let until = tokio::time::Instant::now() + drain;
        let drained = async {
            while intakes.join_next().await.is_some() {}
            while self.counts.running() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout_at(until, drained).await.is_err() {
            self.over.send_replace(true);
            let told = async {
                while self.counts.running() > 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            let _ = timeout(LAST_CALLS, told).await;
        }
        let links = lock(&self.links).clone();
        for link in links.iter().filter(|link| link.standing().is_up) {
            link.round_trip(LAST_CALLS).await;
        }
    }

    fn refuse(&self, what: &str) {
        self.notices.tell(Notice::Refused { what: what.to_owned() });
    }

    fn failed(&self, code: &str) -> Word {
        Word::Failed { worker: self.name.clone(), code: code.to_owned() }
    }

    fn tell(
        &self,
        question: &Question,
        outcome: &'static str,
        why: Option<String>,
        (bytes_in, bytes_out): (usize, usize),
        took: Duration,
    ) {
        let (id, uid) = (question.id, question.peer);
        self.notices.tell(Notice::Served { id, uid, outcome, why, bytes_in, bytes_out, took });
    }

    fn wall(&self) -> u64 {
        wall().saturating_add_signed(self.clock_ahead)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Dropped, the handler's task ends at its next wait.
struct GiveUp(tokio::task::AbortHandle);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A call while it is under way.
struct Open<'a, H> {
    shared: &'a Shared<H>,
    link: Link,
    id: Id,
}

impl<'a, H> Open<'a, H> {
    fn new(shared: &'a Shared<H>, link: &Link, id: Id, begun: Instant) -> Self {
        lock(&shared.running).insert(id, begun);
        shared.counts.0.fetch_add(1, Ordering::SeqCst);
        link.open_calls().fetch_add(1, Ordering::SeqCst);
        Self { shared, link: link.clone(), id }
    }
}

impl<H> Drop for Open<'_, H> {
    fn drop(&mut self) {
        lock(&self.shared.running).remove(&self.id);
        self.link.open_calls().fetch_sub(1, Ordering::SeqCst);
        self.shared.counts.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where a call's reply goes.
struct Answer<H> {
    shared: Arc<Shared<H>>,
    link: Link,
    reply: String,
}

impl<H: Handler> Answer<H> {
    /// By the connection that the call came on, or if that is lost by the other one.
    async fn say(&self, word: &Word, payload: Bytes) -> Result<(), String> {
        let headers = word.headers();
        let own = self.link.standing().is_up;
        let links = lock(&self.shared.links).clone();
        let other =
            links.into_iter().find(|it| it.number != self.link.number && it.standing().is_up);
        let link = match other {
            Some(other) if !own => other,
            _ => self.link.clone(),
        };
        link.publish(self.reply.clone(), None, &headers, payload).await
    }

    fn say_soon(self, word: Word, payload: Bytes) {
        tokio::spawn(async move {
            // A door that does not hear it tells its client that nobody accepted the call.
            let _ = self.say(&word, payload).await;
        });
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}
