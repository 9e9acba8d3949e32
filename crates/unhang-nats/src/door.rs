//! The web machine's side: a handler that asks a service on other machines.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use unhang::{Fault, Handler, Limits, Reply, Request};

use crate::access::{Access, BadAccess};
use crate::address::Address;
use crate::call::{Call, Input, Outcome, Step, Times};
use crate::link::{Incoming, LEAVE, Link, Standing};
use crate::nodes::Nodes;
use crate::notice::{Notice, Notices};
use crate::protocol::{self, Id, Question, Word};

/// Two connections, to two nodes: one that goes away or hangs loses what is under way on it and no more.
const LINKS: usize = 2;

/// A worker has so much less than the door, so that its reason comes before the door's own.
const MARGIN: Duration = Duration::from_millis(50);

/// Without a connection a call may wait so long: it was not sent, so it may still be. Longer, and callers
/// pile up behind a cluster that is gone.
const HOLD: Duration = Duration::from_millis(250);

/// A clock that is off by less than this cannot be told from a busy machine.
const SKEW: Duration = Duration::from_millis(100);

/// Of so many workers a skew is told: once each.
const MOST_TOLD: usize = 10_000;

/// Asks a service on other machines: a [`Handler`] for a [`Server`](unhang::Server) on a Unix socket, as
/// `unhang serve PATH --to nats://…` has it. Clones are the same door.
///
/// Its client is told why it gets no answer, by the deadline at the latest and mostly long before. A call
/// whose worker is lost is not made again, as it may have run, unless [`idempotent`](Builder::idempotent)
/// says that it may run twice.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use unhang::Server;
/// use unhang_nats::Door;
/// let door = Door::to("nats://n1,n2,n3/app".parse()?).connect().await?;
/// Server::bind("/run/app.sock")?.serve(door).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Door {
    shared: Arc<Shared>,
}

/// What a door is to be. Made by [`Door::to`].
#[derive(Clone, Debug)]
#[must_use = "a door asks only once it is connected"]
pub struct Builder {
    address: Address,
    access: Access,
    deadline: Duration,
    is_idempotent: bool,
    times: Times,
    notices: Notices,
}

/// A door or a service that cannot be made: a file that cannot be used, or an address that async-nats does
/// not take. A cluster that cannot be reached is no such error: it is tried again for ever.
#[derive(Debug)]
pub struct CannotStart(pub(crate) String);

#[derive(Debug)]
struct Shared {
    address: Address,
    subject: String,
    deadline: Duration,
    is_idempotent: bool,
    times: Times,
    notices: Notices,
    ends: Vec<End>,
    next: AtomicUsize,
    skewed: Mutex<HashSet<String>>,
    waiting: Mutex<HashMap<Id, Waiting>>,
}

/// A connection, and the calls whose replies come on it.
#[derive(Debug)]
struct End {
    link: Link,
    tries: Arc<Tries>,
}

type Tries = Mutex<HashMap<Id, mpsc::UnboundedSender<Message>>>;

/// A call that waits, for `unhang why`.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Which call.
    pub id: Id,
    /// The worker that has it, once one has said so.
    pub worker: Option<String>,
    /// Since when.
    pub since: Instant,
}

impl Door {
    /// A door to that service.
    pub fn to(address: Address) -> Builder {
        Builder {
            address,
            access: Access::default(),
            deadline: Limits::default().handler,
            is_idempotent: false,
            times: Times::default(),
            notices: Notices::default(),
        }
    }

    /// How many connections can be used, and the nodes that they are on.
    pub fn nodes(&self) -> Vec<Option<String>> {
        let standings = self.shared.ends.iter().map(|end| end.link.standing());
        standings.map(|it| it.is_up.then_some(it.node)).collect()
    }

    /// The calls that wait, oldest first.
    pub fn waiting(&self) -> Vec<Waiting> {
        let mut waiting: Vec<_> = self.shared.waiting().values().cloned().collect();
        waiting.sort_by_key(|call| call.since);
        waiting
    }

    /// Waits until the service can be asked, or until then. Whether it can be.
    pub async fn ready(&self, within: Duration) -> bool {
        timeout(within, self.shared.usable(&[])).await.is_ok()
    }

    /// Asks the service, within that time.
    ///
    /// # Errors
    /// Why there is no answer, as its client is to be told.
    pub async fn ask(&self, request: Request, budget: Duration) -> Result<Reply, Fault> {
        let begun = Instant::now();
        let mut ask = Ask::new(&self.shared, &request, begun, budget);
        drop(request);
        let (outcome, payload) = ask.run().await;
        let (id, worker, resends) =
            (ask.id, ask.call.worker().map(str::to_owned), ask.call.resends);
        let fault = self.shared.fault(&outcome, &payload, worker.as_deref(), begun.elapsed());
        let took = begun.elapsed();
        self.shared.notices.tell(Notice::Called { id, outcome, worker, resends, took });
        fault.map_or_else(|| Ok(payload.into()), Err)
    }
}

impl Handler for Door {
    async fn handle(&self, request: Request) -> Result<Reply, Fault> {
        self.ask(request, self.shared.deadline).await
    }
}

impl Builder {
    /// With what the door comes to the cluster.
    pub fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// How long a call may take, all its tries together. Unless set, [`Limits::handler`].
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Each call may run twice: then one whose worker is lost or silent is sent again.
    pub fn idempotent(self, is_idempotent: bool) -> Self {
        Self { is_idempotent, ..self }
    }

    /// Until when a worker may start a call, counted from its sending; unless set, 250 ms. A longer time
    /// waits for workers that are stopped for a moment, and tells later of those that are dead.
    pub fn accept(mut self, accept: Duration) -> Self {
        self.times.accept = accept;
        self
    }

    /// Hears of what the operator should know. It is called where replies are awaited, and must not block.
    pub fn notices(self, listener: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self { notices: Notices::to(listener), ..self }
    }

    /// Begins to connect. The door can be used at once: while no node can be reached, it says so.
    ///
    /// # Errors
    /// [`CannotStart`], for what no later try could mend.
    pub async fn connect(self) -> Result<Door, CannotStart> {
        let Self { address, access, deadline, is_idempotent, times, notices } = self;
        let nodes = Arc::new(Nodes::new(address.nodes().to_vec()));
        let door = Id::new();
        let mut ends = Vec::new();
        let mut incomings = Vec::new();
        for number in 1..=LINKS {
            let options = access.options(&address)?;
            let inbox = format!("{}.{door}.{number}", protocol::DOOR_INBOX);
            let (nodes, notices) = (Arc::clone(&nodes), notices.clone());
            let opened = Link::open(number, &address, options, inbox, nodes, notices).await;
            let (link, incoming) = opened.map_err(CannotStart)?;
            let tries = Arc::new(Tries::default());
            incomings.push((incoming, Arc::downgrade(&tries)));
            tokio::spawn(leave_when_empty(link.clone()));
            ends.push(End { link, tries });
        }
        for (incoming, tries) in incomings {
            tokio::spawn(hand_out(incoming, tries));
        }
        let shared = Shared {
            subject: protocol::service_subject(address.service()),
            address,
            deadline,
            is_idempotent,
            times,
            notices,
            ends,
            next: AtomicUsize::new(fastrand::usize(..LINKS)),
            skewed: Mutex::default(),
            waiting: Mutex::default(),
        };
        Ok(Door { shared: Arc::new(shared) })
    }
}

/// Gives each reply to the try that it is for. A try that is over is not there any more: its late reply
/// goes nowhere, and never to another.
async fn hand_out(mut incoming: Incoming, tries: Weak<Tries>) {
    while let Some(message) = incoming.recv().await {
        let Some(tries) = tries.upgrade() else { return };
        let id = message.subject.as_str().rsplit('.').next().and_then(Id::parse);
        let Some(id) = id else { continue };
        let waits = lock(&tries).get(&id).cloned();
        if let Some(waits) = waits {
            let _ = waits.send(message);
        }
    }
}

/// A node that goes away is left once no call is under way on it.
async fn leave_when_empty(link: Link) {
    let mut standings = link.standings();
    loop {
        if standings.wait_for(|it| it.is_up && it.is_leaving).await.is_err() {
            return;
        }
        let epoch = link.standing().epoch;
        let until = Instant::now() + LEAVE;
        while link.open_calls().load(Ordering::SeqCst) > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if link.standing().epoch == epoch {
            link.move_away().await;
        }
        if standings.wait_for(|it| it.epoch != epoch).await.is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970, by this machine's clock.
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One call, with all that it needs of the door.
struct Ask<'a> {
    shared: &'a Shared,
    id: Id,
    call: Call,
    payload: Bytes,
    peer: Option<u32>,
    trace: Option<String>,
    current: Option<Try<'a>>,
    /// The connection that was tried last, from 0.
    last: Option<usize>,
}

/// One sending of a call. Dropped, it hears no more.
struct Try<'a> {
    end: &'a End,
    token: Id,
    replies: mpsc::UnboundedReceiver<Message>,
    epoch: u64,
    standing: tokio::sync::watch::Receiver<Standing>,
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        lock(&self.end.tries).remove(&self.token);
        self.end.link.open_calls().fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ask<'_> {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.id);
    }
}

impl<'a> Ask<'a> {
    fn new(shared: &'a Shared, request: &Request, begun: Instant, budget: Duration) -> Self {
        let trace =
            request.header(protocol::TRACE).and_then(|value| std::str::from_utf8(value).ok());
        let id = Id::new();
        shared.waiting().insert(id, Waiting { id, worker: None, since: begun });
        Self {
            shared,
            id,
            call: Call::new(shared.times.clone(), begun, budget, shared.is_idempotent),
            payload: Bytes::copy_from_slice(request.bytes()),
            peer: request.peer().map(|peer| peer.uid),
            trace: trace.filter(|trace| protocol::is_trace(trace)).map(str::to_owned),
            current: None,
            last: None,
        }
    }

    /// Until its end: how it went, and the bytes that came.
    async fn run(&mut self) -> (Outcome, Bytes) {
        let mut step = self.call.on(Instant::now(), Input::Tick);
        let mut came = Bytes::new();
        loop {
            step = match step {
                Step::Done(outcome) => return (outcome, came),
                Step::Send(at) => match self.send(at).await {
                    Ok(until) => Step::Wait(until),
                    Err(outcome) => Step::Done(outcome),
                },
                Step::Probe(worker, until) => {
                    self.probe(&worker).await;
                    Step::Wait(until)
                }
                Step::Wait(until) => {
                    let input = self.next(until, &mut came).await;
                    self.call.on(Instant::now(), input)
                }
            };
        }
    }

    async fn send(&mut self, at: Instant) -> Result<Instant, Outcome> {
        self.current = None;
        sleep_until(at.into()).await;
        let hold = HOLD.min(self.call.until().saturating_duration_since(Instant::now()));
        let avoid: Vec<usize> = self.last.into_iter().collect();
        let usable = timeout(hold, self.shared.usable(&avoid)).await;
        let at = usable.map_err(|_| Outcome::NotConnected)?;
        let Some(end) = self.shared.ends.get(at) else { return Err(Outcome::NotConnected) };
        self.last = Some(at);
        let (token, (sender, replies)) = (Id::new(), mpsc::unbounded_channel());
        // Before anything is sent: a loss from here on is a loss of this try.
        end.link.open_calls().fetch_add(1, Ordering::SeqCst);
        lock(&end.tries).insert(token, sender);
        let standing = end.link.standings();
        let epoch = standing.borrow().epoch;
        self.current = Some(Try { end, token, replies, epoch, standing });
        let now = Instant::now();
        let left = self.call.until().saturating_duration_since(now).saturating_sub(MARGIN);
        let question = Question {
            id: self.id,
            left,
            by: wall().saturating_add(millis(self.shared.times.accept.min(left))),
            peer: self.peer,
            is_idempotent: self.shared.is_idempotent,
            trace: self.trace.clone(),
        };
        let (headers, reply) = (question.headers(), format!("{}.{token}", end.link.inbox));
        if !fits(&headers, self.payload.len(), end.link.client.max_payload()) {
            return Err(Outcome::TooLarge);
        }
        let subject = self.shared.subject.clone();
        let payload = self.payload.clone();
        if end.link.publish(subject, Some(reply), &headers, payload).await.is_err() {
            // It was never given to the connection, so it cannot run.
            return Err(Outcome::NotConnected);
        }
        Ok(self.call.sent(now))
    }

    async fn probe(&self, worker: &str) {
        let Some(current) = &self.current else { return };
        // Not the call's own token: a node's word that nobody is there must be known for which of the two.
        let reply = format!("{}.p.{}", current.end.link.inbox, current.token);
        let headers = [(protocol::ID, self.id.to_string())];
        let subject = protocol::worker_subject(worker);
        // If it cannot be sent, no answer comes, which is what it means.
        let _ = current.end.link.publish(subject, Some(reply), &headers, Bytes::new()).await;
    }

    /// What comes next, until then.
    async fn next(&mut self, until: Instant, came: &mut Bytes) -> Input {
        let Some(current) = &mut self.current else { return Input::Tick };
        loop {
            let epoch = current.epoch;
            let message = tokio::select! {
                biased;
                message = current.replies.recv() => message,
                _ = current.standing.wait_for(|it| it.epoch != epoch) => {
                    // A reply that came before the loss counts.
                    match current.replies.try_recv() {
                        Ok(message) => Some(message),
                        Err(_) => return Input::LinkLost,
                    }
                }
                () = sleep_until(until.into()) => return Input::Tick,
            };
            let Some(message) = message else { return Input::LinkLost };
            let is_of_probe = message.subject.as_str().contains(".p.");
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return if is_of_probe { Input::WorkerGone } else { Input::NoWorker };
            }
            let headers = message.headers.unwrap_or_default();
            let header = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
            let Some(word) = Word::read(header) else { continue };
            // Only a call's own reply is its answer, and only a probe's tells of a probe.
            let is_probe_word = matches!(word, Word::Running | Word::Unknown);
            if is_of_probe != is_probe_word {
                continue;
            }
            if let Word::Answer | Word::Failed { .. } = word {
                *came = message.payload;
            }
            self.shared.hear(self.id, &word);
            return Input::Word(word);
        }
    }
}

/// Whether NATS takes it: headers count, as "NATS/1.0", a line for each, and an empty line.
pub(crate) fn fits(headers: &[(&'static str, String)], payload: usize, most: usize) -> bool {
    let lines: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    payload + lines + 12 <= most
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Id, Waiting>> {
        lock(&self.waiting)
    }

    /// The next connection that can be used, not one of those if another can be; waits for one.
    async fn usable(&self, avoid: &[usize]) -> usize {
        let mut changes: Vec<_> = self.ends.iter().map(|end| end.link.standings()).collect();
        loop {
            if let Some(at) = self.usable_now(avoid) {
                return at;
            }
            let changed = changes.iter_mut().map(|change| Box::pin(change.changed()));
            // Their senders live in the links.
            let _ = futures_util::future::select_all(changed).await;
        }
    }

    fn usable_now(&self, avoid: &[usize]) -> Option<usize> {
        let count = self.ends.len();
        let from = self.next.fetch_add(1, Ordering::Relaxed);
        let order = (0..count).map(|nth| (from + nth) % count);
        let is = |at: usize, test: &dyn Fn(&Standing) -> bool| test(&self.ends[at].link.standing());
        let best = order.clone().find(|at| !avoid.contains(at) && is(*at, &Standing::is_usable));
        best.or_else(|| order.clone().find(|at| is(*at, &Standing::is_usable)))
            // Better a node that goes away than none; better one that is silent than an error.
            .or_else(|| order.clone().find(|at| is(*at, &|it| it.is_up && !it.is_silent)))
            .or_else(|| order.clone().find(|at| is(*at, &|it| it.is_up)))
    }

    fn hear(&self, id: Id, word: &Word) {
        if let Word::Accepted { worker, .. } = word
            && let Some(waiting) = self.waiting().get_mut(&id)
        {
            waiting.worker = Some(worker.clone());
        }
        if let Word::Accepted { worker, at } | Word::Late { worker, at } = word {
            let (here, there) = (i128::from(wall()), i128::from(*at));
            let ahead = i64::try_from(there - here).unwrap_or(i64::MAX);
            if ahead.unsigned_abs() > millis(SKEW) {
                let mut told = lock(&self.skewed);
                if told.len() < MOST_TOLD && told.insert(worker.clone()) {
                    self.notices.tell(Notice::Skew { worker: worker.clone(), ahead });
                }
            }
        }
    }

    /// What the client is told, unless it has its answer.
    fn fault(
        &self,
        outcome: &Outcome,
        payload: &[u8],
        worker: Option<&str>,
        took: Duration,
    ) -> Option<Fault> {
        let who = worker.unwrap_or("unknown");
        let subject = &self.subject;
        let (told, code) = match outcome {
            Outcome::Answered => return None,
            Outcome::Failed(code) => {
                let reason = String::from_utf8_lossy(payload).into_owned();
                (reason, known_code(code))
            }
            Outcome::NotConnected => (
                format!("not connected to NATS ({}): {}; the request did not run", self.address, self.why()),
                "backend_absent",
            ),
            Outcome::TooLarge => (
                format!(
                    "the request is larger than NATS takes ({} bytes, with headers); it did not run. Raise \
                     max_payload of nats-server, to 8 MiB at most, or lower --max-request",
                    self.max_payload()
                ),
                "backend_request_too_large",
            ),
            Outcome::NoWorker => {
                (format!("no worker for {subject}; the request did not run"), "backend_absent")
            }
            Outcome::Busy => (
                "busy: the places of all workers that were asked are taken; the request did not run".into(),
                "busy_backend",
            ),
            Outcome::Late => (
                format!(
                    "too late for every worker that was asked ({who} last): the clocks of both machines \
                     differ, or the worker is overloaded; the request did not run"
                ),
                "busy_backend",
            ),
            Outcome::Stopping => (
                "the workers that were asked are stopping; the request did not run".into(),
                "stopping",
            ),
            Outcome::NotAccepted => (
                format!(
                    "no worker said within {:?} that it has the request; it may have run",
                    self.times.accept
                ),
                "backend_lost",
            ),
            Outcome::Lost => (
                format!("the worker {who} was lost after it accepted the request; it may have run"),
                "backend_lost",
            ),
            Outcome::Silent => (
                format!("the worker {who} accepted the request and is stopped or cut off; it may have run"),
                "backend_lost",
            ),
            Outcome::ConnectionLost => (
                "the connection to NATS was lost after the request was sent; it may have run".into(),
                "backend_lost",
            ),
            Outcome::Deadline => (
                format!("the worker {who} took longer than {took:.1?}; it may run on"),
                "backend_late",
            ),
        };
        Some(Fault::new(told).with_code(code))
    }

    fn max_payload(&self) -> usize {
        self.ends.iter().map(|end| end.link.client.max_payload()).max().unwrap_or_default()
    }

    fn why(&self) -> String {
        let standings = self.ends.iter().map(|end| end.link.standing());
        standings
            .filter(|it| !it.is_up)
            .map(|it| it.why)
            .next()
            .unwrap_or_else(|| "it takes no bytes".into())
    }
}

/// The words that a service has for what went wrong behind it. A word that a worker makes up does not get
/// into counters.
fn known_code(code: &str) -> &'static str {
    const KNOWN: [&str; 9] = [
        "backend_absent",
        "backend_ended",
        "backend_killed",
        "backend_late",
        "backend_reply_too_large",
        "busy_backend",
        "handler_failed",
        "handler_panicked",
        "stopping",
    ];
    KNOWN.into_iter().find(|known| *known == code).unwrap_or("handler_failed")
}

impl From<BadAccess> for CannotStart {
    fn from(bad: BadAccess) -> Self {
        Self(bad.to_string())
    }
}

impl fmt::Display for CannotStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotStart {}
