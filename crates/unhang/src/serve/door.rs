//! Who accepts: the shards, as long as all goes well, and else one loop that can wait, be patient
//! and tell people off: a place → accept → who is it → one task per connection. And the drain.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::attempt::attempt;
use crate::event::{Cause, Ended, Event, Exchange, Scarce};
use crate::gauges::{Counted, Gauges};
use crate::handler::{Handler, Peer};
use crate::isolate::{Isolated, caught};
use crate::limits::{ACCEPT_PAUSE, BACKLOG, LAST_CALLS};
use crate::queue::Queue;
use crate::serve::admission::{Admission, Guest, Places, Turn};
use crate::serve::config::Stop;
use crate::serve::connection::{Connection, Rules};
use crate::serve::stream::Stream;
use crate::shards::Shards;
use crate::spare::{Accepted, Spare};
use crate::thinking::Thinking;

pub(crate) type Observer = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// What everybody who serves has a copy of, and all connections share.
pub(crate) struct Service<H> {
    pub(crate) rules: Arc<Rules>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) places: Arc<Places>,
    pub(crate) gauges: Gauges,
    pub(crate) handler: Arc<H>,
    /// Where handlers go on that do not end at once.
    pub(crate) handlers: Handle,
    /// Where connections go on that have to wait.
    pub(crate) waiting_room: Handle,
    pub(crate) thinking: Arc<Thinking>,
    pub(crate) observer: Observer,
    /// Whether the observer wants to know who each client is.
    pub(crate) names_peers: bool,
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

impl<H> Service<H> {
    /// With rules of its own, so that not all threads count in one place who uses them.
    pub(crate) fn copy(&self) -> Self {
        let budget = self.rules.budget.copy();
        Self {
            rules: Arc::new(Rules { budget, ..self.rules.as_ref().clone() }),
            admission: Arc::clone(&self.admission),
            places: Arc::clone(&self.places),
            gauges: self.gauges.clone(),
            handler: Arc::clone(&self.handler),
            handlers: self.handlers.clone(),
            waiting_room: self.waiting_room.clone(),
            thinking: Arc::clone(&self.thinking),
            observer: Arc::clone(&self.observer),
            names_peers: self.names_peers,
        }
    }
}

impl<H: Handler> Service<H> {
    pub(crate) async fn run(
        self: Arc<Self>,
        queue: impl Queue,
        mut spare: Spare,
        shards: &Shards,
        stop: Arc<Stop>,
        stop_when: impl Future<Output = ()> + Send + 'static,
    ) {
        let within = self.rules.limits.drain;
        tokio::spawn(async move {
            stop_when.await;
            stop.begin(within);
        });

        let mut drain = self.rules.drain.clone();
        tokio::select! {
            biased;
            () = drain.begun() => {}
            () = self.serve_all(&queue, shards, &mut spare) => {}
        }

        shards.park().await;
        // A successor that has asked, and not said that it serves, may keep us here for seconds.
        let rest_is_ours = {
            let mut closing = pin!(queue.close_door());
            loop {
                if drain.is_over() {
                    self.turn_all_away(&queue, &mut spare, || Cause::Stopping);
                } else {
                    self.take_along(&queue);
                }
                tokio::select! {
                    biased;
                    ours = &mut closing => break ours,
                    () = queue.wait() => {}
                    // A place may have come free, or the drain be over.
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        };
        self.tell(&Event::Draining { open: self.places.taken(), within });
        if rest_is_ours {
            tokio::select! {
                biased;
                () = self.accept_all(&queue, shards, Door::Closed, &mut spare) => {}
                () = drain.over() => self.last_call(&queue, &mut spare).await,
            }
        } else {
            // It is another's alone now. Kept open until the drain is over, it would outlive that
            // other if it is killed: clients would enter a queue that nobody serves, and the lock
            // would keep the next start out.
            drop(queue);
        }
        self.places.all_free().await;
    }

    /// For ever. The shards accept until one is in trouble or all are blocked.
    async fn serve_all(self: &Arc<Self>, queue: &impl Queue, shards: &Shards, spare: &mut Spare) {
        loop {
            if self.shards_can_serve(queue, shards, 0) {
                self.places.queue_is_empty();
                queue.rest();
                shards.open();
                shards.trouble().await;
                shards.park().await;
            }
            self.accept_all(queue, shards, Door::Open, spare).await;
        }
    }

    /// Not while they would soon be in trouble again: each needs a place of its own at any time, and none
    /// can wait at a queue that somebody who shares it has shut.
    /// `held` are places that whoever asks would give back.
    fn shards_can_serve(&self, queue: &impl Queue, shards: &Shards, held: usize) -> bool {
        let enough = self.places.left() + held >= 2 * shards.all.len();
        shards.one_is_free() && enough && !queue.is_shut()
    }

    /// Once until one is accepted.
    fn tell_that_accepting_fails(&self, error: Errno, told: &mut bool) {
        if !std::mem::replace(told, true) {
            self.tell(&Event::AcceptFailed(&error.into()));
        }
    }

    /// Accepts until the shards can, or, once nobody can connect any more, until the queue is empty.
    /// No failure ends it before.
    async fn accept_all(
        self: &Arc<Self>,
        queue: &impl Queue,
        shards: &Shards,
        door: Door,
        spare: &mut Spare,
    ) {
        let mut failing = false;
        loop {
            // First the place: who cannot be served yet waits in the accept queue, but not for long.
            let place = match self.places.take(somebody_waits(queue)).await {
                Turn::Served(place) => place,
                Turn::TooLate => {
                    let most = self.rules.limits.max_connections;
                    let cause = || Cause::Busy(Scarce::Places { most });
                    match (self.turn_all_away(queue, spare, cause), door) {
                        (Left::Nobody, Door::Closed) => return,
                        (Left::Nobody, Door::Open) if !queue.is_shut() => {
                            self.places.queue_is_empty();
                        }
                        // One that is shut looks as if somebody waited, and without patience nothing
                        // else would be waited for.
                        _ => sleep(ACCEPT_PAUSE).await,
                    }
                    continue;
                }
            };
            let connection = loop {
                match spare.accept(queue) {
                    Ok(Accepted::Usual(connection)) => break connection,
                    Ok(Accepted::WithSpare(connection, error)) => {
                        self.tell_that_accepting_fails(error, &mut failing);
                        self.turn_away(connection, Cause::Busy(Scarce::Descriptors));
                        // Those under way are who will give descriptors back.
                        yield_now().await;
                    }
                    Err(Errno::INTR | Errno::CONNABORTED) => {}
                    Err(Errno::AGAIN) => {
                        self.places.queue_is_empty();
                        // Where accepting fails, a shard would find no more than that out again.
                        let may_return = || !failing && self.shards_can_serve(queue, shards, 1);
                        if door == Door::Closed || may_return() {
                            return;
                        }
                        tokio::select! {
                            () = queue.wait() => {}
                            () = shards.back() => {}
                        }
                        // Places may have come free meanwhile.
                        if may_return() {
                            return;
                        }
                    }
                    Err(error) => {
                        self.tell_that_accepting_fails(error, &mut failing);
                        // An accept that fails does not say so: who comes next has its own patience.
                        if !queue.has_waiting() {
                            self.places.queue_is_empty();
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            };
            failing = false;
            self.let_in(connection, place);
            if door == Door::Open && self.shards_can_serve(queue, shards, 0) {
                return;
            }
        }
    }

    fn let_in<S>(self: &Arc<Self>, connection: S, place: OwnedSemaphorePermit)
    where
        S: Stream + Send + 'static,
    {
        let peer = self.peer_of(&connection);
        match self.admission.admit(peer, &self.rules.limits) {
            Ok(guest) => {
                let exchange = Arc::clone(self).exchange(connection, guest);
                self.go_on(Box::pin(exchange), place, self.gauges.connection());
            }
            Err(cause) => self.turn_away(connection, cause),
        }
    }

    /// Accepts who is in a queue that is, or may be, another's from now on, without a wait. For each the
    /// kernel may have woken a shard of ours, and then it wakes nobody else; now that no shard waits,
    /// it wakes the other's for whoever comes.
    fn take_along(self: &Arc<Self>, queue: &impl Queue) {
        // As many as the longest queue holds: who comes after that was not in it.
        for _ in 0..=BACKLOG {
            let Some(place) = self.places.try_take() else { return };
            match queue.accept() {
                Ok(connection) => self.let_in(connection, place),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
    }

    /// Asked for only where somebody wants to know: it is a system call.
    pub(crate) fn peer_of(&self, stream: &impl Stream) -> Option<Peer> {
        let asked = self.names_peers || self.admission.asks(&self.rules.limits);
        if asked { stream.peer() } else { None }
    }

    /// One exchange, wherever it is polled.
    pub(crate) async fn exchange<S: Stream>(self: Arc<Self>, stream: S, guest: Guest) -> Exchange {
        let answer = |request| {
            let service = Arc::clone(&self);
            Isolated::new(&self.handlers, async move { service.handler.handle(request).await })
        };
        Connection::new(stream, Arc::clone(&self.rules), guest).run(answer).await
    }

    /// Has it wait where waiting keeps nobody else from being served.
    pub(crate) fn go_on(
        self: &Arc<Self>,
        exchange: Pin<Box<impl Future<Output = Exchange> + Send + ?Sized + 'static>>,
        place: OwnedSemaphorePermit,
        counted: Counted,
    ) {
        let service = Arc::clone(self);
        let mut exchange = exchange;
        // No `async` block, which would keep room for what the exchange ends with while it waits.
        self.waiting_room.spawn(poll_fn(move |cx| {
            let _held = (&place, &counted);
            let exchange = ready!(exchange.as_mut().poll(cx));
            service.conclude(exchange);
            Poll::Ready(())
        }));
    }

    /// Tells everybody who is in the accept queue at the very end.
    async fn last_call(&self, queue: &impl Queue, spare: &mut Spare) {
        for _ in 0..LAST_CALLS {
            match self.turn_all_away(queue, spare, || Cause::Stopping) {
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
            match spare.accept(queue) {
                Ok(Accepted::Usual(connection) | Accepted::WithSpare(connection, _)) => {
                    self.turn_away(connection, cause());
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return Left::Nobody,
                Err(_) if queue.has_waiting() => return Left::Some,
                Err(_) => return Left::Nobody,
            }
        }
        Left::Nobody
    }

    /// Tells one client why it is not served, without a wait: it holds no place that it could wait
    /// in.
    pub(crate) fn turn_away(&self, mut stream: impl Stream, cause: Cause) {
        let accepted = Instant::now();
        let peer = stream.peer();
        let mut bytes_out = 0;
        if let Some(reply) = (self.rules.refusal)(&cause) {
            let write =
                pin!(poll_fn(|cx| stream.poll_write(cx, reply.whole().unwrap_or_default())));
            if let Poll::Ready(Ok(count)) = attempt(write) {
                bytes_out = count;
            }
        }
        let bytes_in = stream.close();
        let took = accepted.elapsed();
        let ended = Ended::Refused(cause);
        let handled = None;
        self.tell(&Event::Exchange(&Exchange { peer, bytes_in, bytes_out, took, handled, ended }));
    }

    /// Tells how an exchange went.
    pub(crate) fn conclude(&self, exchange: Exchange) {
        self.tell(&Event::Exchange(&exchange));
        if matches!(exchange.ended, Ended::Refused(Cause::HandlerFailed(_))) {
            self.leave_to_handlers(exchange);
        }
    }

    /// Drops what a handler has left where handlers go on: that may take long, or panic.
    pub(crate) fn leave_to_handlers(&self, left: impl Send + 'static) {
        // Here, where that runtime is gone.
        let _ = caught(|| self.handlers.spawn(async move { drop(left) }));
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        tell(&self.observer, event);
    }
}

/// An observer that panics costs its own line, and no connection.
pub(crate) fn tell(observer: &Observer, event: &Event<'_>) {
    let _ = caught(|| observer(event));
}

/// Waits until there is somebody in the accept queue.
async fn somebody_waits(queue: &impl Queue) {
    while !queue.has_waiting() {
        queue.wait().await;
    }
}
