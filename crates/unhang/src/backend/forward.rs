//! A front for a server that cannot be changed: passes each request on, decides where the reply ends,
//! and closes.

mod broken;
mod ends;
mod exchange;
mod link;
mod looks;
mod target;
mod transfer;
mod watch;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use ends::ReplyEnds;
use exchange::Exchange;
use link::Link;
pub use target::{BadTarget, Target};
pub use watch::{Seen, Times, Watch};
use writer::Writers;

use super::notice::{EndedBy, Notice, refused};
use super::prompt::Prompt;
use super::terms::{Terms, terms};
use crate::{Fault, Handler, Reply, Request};

/// Between two tries to connect to a server that is not there: it is being started again.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Passes each request to another server.
///
/// The reply ends where that server closes, or where [`ReplyEnds`] says; then the client's connection is
/// closed, whatever the server does. Each request has a connection of its own to the server: on one that
/// was used before, a late reply would be the next client's.
///
/// A server that is not there is waited for as long as [`Limits::queue`](crate::Limits::queue) says, so its restarts are not
/// seen by clients. A request that was sent is never sent again.
///
/// ```no_run
/// # fn main() -> Result<(), unhang::backend::BadTarget> {
/// use unhang::backend::{Forward, ReplyEnds, Target};
/// let front = Forward::new(Target::parse("/run/app-real.sock")?).reply_ends(ReplyEnds::Newline);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Forward {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    ends: ReplyEnds,
    half_close: HalfClose,
    terms: Terms,
    watch: Option<Arc<dyn Watch>>,
    writers: Writers,
    prompt: Prompt,
    advised: AtomicBool,
    told_of_unseen: AtomicBool,
    told_of_needs: AtomicBool,
}

/// Whether the server is told that the request is whole, by the end of the sending direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HalfClose {
    /// As soon as the server is seen to wait for more of the request, see [`Watch`]: one that needs the
    /// end never answers without it, and one that takes it for the client's leaving is not told.
    #[default]
    Auto,
    /// Always, behind the request.
    Always,
    /// Never.
    Never,
}

impl Forward {
    /// Passes requests to this server.
    pub fn new(target: Target) -> Self {
        let shared = Shared {
            target,
            ends: ReplyEnds::default(),
            half_close: HalfClose::default(),
            terms: Terms::default(),
            watch: None,
            writers: Writers::default(),
            prompt: Prompt::default(),
            advised: AtomicBool::new(false),
            told_of_unseen: AtomicBool::new(false),
            told_of_needs: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Where a reply ends.
    #[must_use]
    pub fn reply_ends(self, ends: ReplyEnds) -> Self {
        self.with(|shared| shared.ends = ends)
    }

    /// Whether the server sees the end of the request.
    #[must_use]
    pub fn half_close(self, half_close: HalfClose) -> Self {
        self.with(|shared| shared.half_close = half_close)
    }

    /// Sees the server from outside.
    #[must_use]
    pub fn watch(self, watch: impl Watch) -> Self {
        self.with(|shared| shared.watch = Some(Arc::new(watch)))
    }
}

terms!(Forward);

impl Handler for Forward {
    async fn handle(&self, request: Request) -> Result<Reply, Fault> {
        let begun = Instant::now();
        let link = self.shared.connect(begun).await?;
        Exchange::new(&self.shared, link, request, begun).run().await
    }
}

impl Shared {
    async fn connect(&self, begun: Instant) -> Result<Link, Fault> {
        let until = begun + self.terms.queue;
        let mut pause = PAUSE;
        loop {
            let error = match self.target.connect(until).await {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            if !target::may_pass(&error) || Instant::now() + pause >= until {
                let (target, error) = (self.target.to_string(), error.to_string());
                self.terms.notices.tell(Notice::NotReached {
                    target,
                    error,
                    waited: self.terms.queue,
                });
                let told = "the server behind cannot be reached; the request did not run";
                return Err(refused::fault(told, refused::ABSENT));
            }
            sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// Says once that a half reply may look whole.
    fn tell_of_unseen_ends(&self) {
        if !self.told_of_unseen.swap(true, Ordering::Relaxed) {
            self.terms.notices.tell(Notice::EndUnseen);
        }
    }

    /// Says once that a server which is silent may wait for the end of the request.
    fn tell_of_unseen_needs(&self) {
        if !self.told_of_needs.swap(true, Ordering::Relaxed) {
            self.terms.notices.tell(Notice::EndKept);
        }
    }

    /// Says once what the operator could do about a server that does not close.
    fn advise(&self, reply: &[u8], request: &[u8], by: EndedBy) {
        if !self.advised.swap(true, Ordering::Relaxed) {
            let fitting = ends::fitting(reply, request);
            self.terms.notices.tell(Notice::NotClosed { by, fitting });
        }
    }
}
