//! The web machine's side: a handler that asks a service on other machines.

mod ask;
mod shared;
mod telling;
mod told;

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use unhang::{Fault, Handler, Limits, Reply, Request};

use crate::access::{Access, BadAccess};
use crate::address::Address;
use crate::call::Times;
use crate::link::Link;
use crate::nodes::Nodes;
use crate::notice::{Notice, Notices};
use crate::protocol::{self, Id};
use ask::Ask;
pub use shared::Waiting;
use shared::{End, Shared, Tries, hand_out, leave_when_empty};

/// Two connections, to two nodes: one that goes away or hangs loses what is under way on it and no more.
const LINKS: usize = 2;

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
        let states = self.shared.ends.iter().map(|end| end.link.state());
        states.map(|it| it.is_up.then_some(it.node)).collect()
    }

    /// The calls that wait, oldest first.
    pub fn waiting(&self) -> Vec<Waiting> {
        let mut waiting: Vec<_> = self.shared.waiting().values().cloned().collect();
        waiting.sort_by_key(|call| call.since);
        waiting
    }

    /// What the worker that has this call ([`Waiting::number`]) says that it does with it, in lines; if it does not
    /// answer by then, that. None if the call is over.
    pub async fn tell_of(&self, number: u32, within: Duration) -> Option<String> {
        telling::tell_of(&self.shared, number, within).await
    }

    /// For tests: the next calls ask first which worker is free.
    #[doc(hidden)]
    pub fn be_wary(&self) {
        self.shared.be_wary();
    }

    /// Waits until the service can be asked, or until then. Whether it can be.
    pub async fn ready(&self, within: Duration) -> bool {
        timeout(within, self.shared.usable(None)).await.is_ok()
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
            numbers: AtomicU32::new(0),
            begun: Instant::now(),
            wary: AtomicU64::new(0),
        };
        Ok(Door { shared: Arc::new(shared) })
    }
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
