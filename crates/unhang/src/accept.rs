//! The accept loop, and the drain: a place → accept → who is it → one task per connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::admission::{Admission, Places, Turn};
use crate::connection::{Connection, Rules};
use crate::drain::{Drain, Stop};
use crate::event::{Cause, Ended, Event, Exchange, Scarce};
use crate::gauges::Gauges;
use crate::handler::{Handler, Peer};
use crate::isolate::isolated;
use crate::limits::{ACCEPT_PAUSE, BACKLOG, LAST_CALLS};
use crate::queue::Queue;
use crate::spare::Spare;
use crate::stream::Stream;

pub(crate) type Observer = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// What the accept loop and all connections share.
pub(crate) struct Service<H> {
    pub(crate) rules: Arc<Rules>,
    pub(crate) admission: Admission,
    pub(crate) places: Places,
    pub(crate) gauges: Gauges,
    pub(crate) handler: Arc<H>,
    /// Where handlers run.
    pub(crate) handlers: Handle,
    pub(crate) observer: Observer,
    pub(crate) drain: Drain,
}

/// Whether new connections can still enter the accept queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
}

/// Who is still in the accept queue when all were to be turned away.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Nobody,
    /// Those who could not be accepted.
    Some,
}

impl<H: Handler> Service<H> {
    pub(crate) async fn run(
        self,
        queue: impl Queue,
        stop: Arc<Stop>,
        stop_when: impl Future<Output = ()> + Send + 'static,
    ) {
        let within = self.rules.limits.drain;
        tokio::spawn(async move {
            stop_when.await;
            stop.begin(within);
        });

        let mut drain = self.drain.clone();
        tokio::select! {
            biased;
            () = drain.begun() => {}
            () = self.accept_all(&queue, Door::Open) => {}
        }

        let rest_is_ours = queue.close_door().await;
        self.tell(&Event::Draining { open: self.places.taken(), within });
        if rest_is_ours {
            tokio::select! {
                biased;
                () = self.accept_all(&queue, Door::Closed) => {}
                () = drain.over() => self.last_call(&queue).await,
            }
        } else {
            // It is another's alone now. Kept open until the drain is over, it would outlive that
            // other if it is killed: clients would enter a queue that nobody serves, and the lock
            // would keep the next start out.
            drop(queue);
        }
        self.places.all_free().await;
    }

    /// Accepts for ever, or, once nobody can connect any more, until the queue is empty. No failure
    /// ends it before.
    async fn accept_all(&self, queue: &impl Queue, door: Door) {
        let mut spare = Spare::new();
        let mut failing = false;
        loop {
            // First the place: who cannot be served yet waits in the accept queue, but not for long.
            let place = match self.places.take(somebody_waits(queue)).await {
                Turn::Served(place) => place,
                Turn::TooLate => {
                    let most = self.rules.limits.max_connections;
                    let cause = || Cause::Busy(Scarce::Places { most });
                    match (self.turn_all_away(queue, &mut spare, cause), door) {
                        (Left::Nobody, Door::Closed) => return,
                        (Left::Nobody, Door::Open) => self.places.queue_is_empty(),
                        (Left::Some, _) => sleep(ACCEPT_PAUSE).await,
                    }
                    continue;
                }
            };
            let connection = loop {
                // First the spare: what came free would else serve one client more, and leave all
                // after it untold.
                spare.refill();
                match queue.accept() {
                    Ok(connection) => break connection,
                    Err(Errno::INTR | Errno::CONNABORTED) => {}
                    Err(Errno::AGAIN) => {
                        self.places.queue_is_empty();
                        match door {
                            Door::Open => queue.wait().await,
                            Door::Closed => return,
                        }
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut failing, true) {
                            self.tell(&Event::AcceptFailed(&error.into()));
                        }
                        match spare.accept(queue, error) {
                            Some(connection) => {
                                self.turn_away(connection, Cause::Busy(Scarce::Descriptors));
                                // Those under way are who will give descriptors back.
                                yield_now().await;
                            }
                            None => sleep(ACCEPT_PAUSE).await,
                        }
                    }
                }
            };
            failing = false;
            let peer = connection.peer();
            match self.admission.admit(peer, &self.rules.limits) {
                Ok(entry) => self.serve(connection, peer, (place, entry)),
                Err(cause) => self.turn_away(connection, cause),
            }
        }
    }

    /// `held` is what the connection takes up, given back when it has ended.
    fn serve<S>(&self, stream: S, peer: Option<Peer>, held: impl Send + 'static)
    where
        S: Stream + Send + 'static,
    {
        let connection = Connection::new(stream, Arc::clone(&self.rules), self.drain.clone());
        let handler = Arc::clone(&self.handler);
        let handlers = self.handlers.clone();
        let observer = Arc::clone(&self.observer);
        let counted = self.gauges.connection();
        tokio::spawn(async move {
            let answer = |request| isolated(handlers, handler, request);
            let exchange = connection.run(peer, answer).await;
            tell(&observer, &Event::Exchange(&exchange));
            drop((held, counted));
        });
    }

    /// Tells everybody who is in the accept queue at the very end.
    async fn last_call(&self, queue: &impl Queue) {
        let mut spare = Spare::new();
        for _ in 0..LAST_CALLS {
            match self.turn_all_away(queue, &mut spare, || Cause::Stopping) {
                Left::Nobody => return,
                Left::Some => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Tells everybody in the accept queue why they are not served. In one go, though that may take
    /// some milliseconds: who comes meanwhile has not waited yet, and is not to be told so.
    fn turn_all_away(
        &self,
        queue: &impl Queue,
        spare: &mut Spare,
        cause: impl Fn() -> Cause,
    ) -> Left {
        // As many as the longest queue holds: who comes after that is not to keep us here.
        for _ in 0..=BACKLOG {
            match queue.accept() {
                Ok(connection) => self.turn_away(connection, cause()),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return Left::Nobody,
                Err(error) => match spare.accept(queue, error) {
                    Some(connection) => self.turn_away(connection, cause()),
                    // With no descriptor left, an empty queue gives the same error as a full one.
                    None if queue.has_waiting() => return Left::Some,
                    None => return Left::Nobody,
                },
            }
        }
        Left::Nobody
    }

    /// Tells one client why it is not served, without a wait: it holds no place that it could wait
    /// in.
    fn turn_away(&self, mut stream: impl Stream, cause: Cause) {
        let accepted = Instant::now();
        let mut bytes_out = 0;
        if let Some(reply) = (self.rules.refusal)(&cause) {
            let mut no_wait = Context::from_waker(Waker::noop());
            if let Poll::Ready(Ok(count)) = stream.poll_write(&mut no_wait, reply.bytes()) {
                bytes_out = count;
            }
        }
        let peer = stream.peer();
        let bytes_in = stream.close();
        let took = accepted.elapsed();
        let ended = Ended::Refused(cause);
        let handled = None;
        self.tell(&Event::Exchange(&Exchange { peer, bytes_in, bytes_out, took, handled, ended }));
    }

    fn tell(&self, event: &Event<'_>) {
        tell(&self.observer, event);
    }
}

/// An observer that panics costs its own line, and no connection.
pub(crate) fn tell(observer: &Observer, event: &Event<'_>) {
    let _ = catch_unwind(AssertUnwindSafe(|| observer(event)));
}

/// Waits until there is somebody in the accept queue.
async fn somebody_waits(queue: &impl Queue) {
    while !queue.has_waiting() {
        queue.wait().await;
    }
}
