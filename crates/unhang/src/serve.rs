//! Serving: what all threads of a server share, and the one way a connection goes on.
//!
//! One request's way is the list of these modules: the [`door`] lets a client in, [`admission`] says
//! whether it may ask, a [`worker`] steps its [`connection`], and what has to wait is [`parked`]. The
//! [`watchdog`] keeps every deadline.

pub(crate) mod admission;
pub(crate) mod alarm;
pub(crate) mod budget;
pub(crate) mod caught;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod door;
pub(crate) mod events;
pub(crate) mod linux;
pub(crate) mod parked;
pub(crate) mod stream;
pub(crate) mod system;
#[cfg(feature = "tracing")]
mod trace;
pub(crate) mod watchdog;
pub(crate) mod worker;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use crate::event::{Cause, Ended, Event, Exchange, Scarce};
use crate::handler::{Fault, Handler, Reply, Request};
use admission::{Admission, Client, Place};
use alarm::Alarm;
use caught::caught;
use config::Config;
use connection::{Connection, Next};
use door::{Acceptor, Door};
use events::Events;
use parked::Parked;
use stream::{Interest, Stream};
use system::{Poller, System};

pub(crate) struct Service<H, Y: System> {
    pub(crate) system: Y,
    pub(crate) config: Config,
    pub(crate) admission: Admission,
    pub(crate) handler: Arc<H>,
    pub(crate) door: Door<Y>,
    /// One for each worker, and the last for the watchdog.
    pub(crate) parked: Vec<Parked<Y>>,
    pub(crate) events: Option<Arc<Events>>,
    pub(crate) alarm: Alarm,
}

/// So many exchanges of one connection, and then others have their turn: as many as fit into one write.
const TURN: u32 = 64;

type Answer = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>>;

impl<H: Handler, Y: System> Service<H, Y> {
    /// A client that was accepted. `seat`: the worker on whose thread this is, if it is one's. `now`: the
    /// clock is read once for all that is done at once, as it is felt.
    pub(crate) fn let_in(
        self: &Arc<Self>,
        stream: Y::Stream,
        place: Place,
        seat: Option<usize>,
        now: Instant,
    ) {
        let asks = self.config.names_peers || self.admission.asks(&self.config.limits);
        // Asked for only if the server wants to know: it is a system call.
        let peer = if asks { stream.peer() } else { None };
        match self.admission.admit(peer, &self.config.limits) {
            Ok(client) => {
                let connection = Connection::new(stream, &self.config, client, Some(place), now);
                self.serve(Box::new(connection), seat, now);
            }
            Err(cause) => {
                drop(place);
                self.turn_away(stream, cause);
            }
        }
    }

    /// Steps a connection until it is over or has to wait.
    pub(crate) fn serve(
        self: &Arc<Self>,
        mut connection: Box<Connection<Y::Stream>>,
        seat: Option<usize>,
        mut now: Instant,
    ) {
        let mut paused = seat.is_none() || connection.watched;
        let mut told = 0;
        loop {
            match connection.step(&self.config, now) {
                Next::Wait(Interest::Read) if !std::mem::replace(&mut paused, true) => {
                    // connect() has woken this thread before the client had the time to write. Let it:
                    // that costs less than to wait for it.
                    self.system.pause();
                    now = self.system.now();
                }
                Next::Wait(interest) => match self.park(connection, interest, seat) {
                    Ok(_) => return,
                    Err(refused) => connection = refused,
                },
                Next::Ask(request) => match self.ask(connection, request, seat, &mut now) {
                    Some(answered) => connection = answered,
                    None => return,
                },
                Next::Piece => match self.await_piece(connection, seat) {
                    Some(more) => connection = more,
                    None => return,
                },
                Next::Told(exchange) => {
                    (paused, told) = (true, told + 1);
                    self.tell_exchange(exchange);
                    // The poller tells of what has come meanwhile: to look first costs as much as that, and
                    // a client that always has more would keep the thread from all others.
                    let interest = match &connection {
                        idle if idle.is_idle() => Interest::Read,
                        more if more.has_more() && told >= TURN => Interest::Write,
                        _ => continue,
                    };
                    match self.park(connection, interest, seat) {
                        Ok(_) => return,
                        Err(refused) => connection = refused,
                    }
                }
                Next::Done(exchange) => {
                    // First the close, then the log.
                    Self::end(connection);
                    if let Some(exchange) = exchange {
                        self.tell_exchange(exchange);
                    }
                    return;
                }
            }
        }
    }

    /// Tells a client, that has no place to wait in, why it is not served.
    pub(crate) fn turn_away(&self, stream: Y::Stream, cause: Cause) {
        let now = self.system.now();
        let mut connection =
            Box::new(Connection::new(stream, &self.config, Client::default(), None, now));
        connection.refuse(cause, &self.config, now);
        let exchange = match connection.step(&self.config, now) {
            Next::Done(exchange) => exchange,
            _ => Some(connection.give_up(self.system.now())),
        };
        Self::end(connection);
        if let Some(exchange) = exchange {
            self.tell_exchange(exchange);
        }
    }

    /// Has it wait where it is watched: at the worker that has it, or that had it before. Given back,
    /// refused, if the kernel has no room.
    fn park(
        &self,
        mut connection: Box<Connection<Y::Stream>>,
        interest: Interest,
        seat: Option<usize>,
    ) -> Result<u64, Box<Connection<Y::Stream>>> {
        let home = match seat {
            _ if connection.watched => usize::from(connection.home),
            Some(worker) => worker,
            None => self.parked.len() - 1,
        };
        if connection.rests() {
            connection.lends_place();
        }
        let due = connection.due(&self.config);
        match self.parked[home].park(connection, interest, &self.config) {
            Ok(number) => {
                if self.alarm.is_later_than(due) {
                    self.wake_watchdog();
                }
                Ok(number)
            }
            Err(mut connection) => {
                let now = self.system.now();
                connection.no_room(&self.config, now);
                Err(connection)
            }
        }
    }

    /// Has another worker watch and serve a connection that is kept and was reported.
    pub(crate) fn hand_over(
        self: &Arc<Self>,
        mut connection: Box<Connection<Y::Stream>>,
        worker: usize,
    ) {
        if std::mem::take(&mut connection.watched) {
            self.parked[usize::from(connection.home)].poller.forget(&connection.stream);
        }
        // Readable as it is, it is reported there at once.
        if let Err(refused) = self.park(connection, Interest::Read, Some(worker)) {
            self.serve(refused, None, self.system.now());
        }
    }

    /// A worker that rests.
    pub(crate) fn idle_worker(&self) -> Option<usize> {
        self.parked[..self.parked.len() - 1].iter().position(|parked| !parked.is_at_work())
    }

    /// Gives the connection back if it is answered already.
    fn ask(
        self: &Arc<Self>,
        mut connection: Box<Connection<Y::Stream>>,
        request: Request,
        seat: Option<usize>,
        now: &mut Instant,
    ) -> Option<Box<Connection<Y::Stream>>> {
        if !connection.resumes() {
            // It was kept without a place, and others have them all.
            let most = self.door.places.most;
            let cause = Cause::Busy(Scarce::Places { most });
            connection.refuse(cause, &self.config, *now);
            return Some(connection);
        }
        let (handler, held) = (Arc::clone(&self.handler), request.held());
        let answer = async move {
            let _held = held;
            handler.handle(request).await
        };
        #[cfg(feature = "tracing")]
        let answer = {
            let id = trace::next_id();
            connection.id = Some(id);
            tracing::Instrument::instrument(answer, trace::span(id))
        };
        let mut answer: Answer = Box::pin(answer);
        if let Some(worker) = seat {
            let slot = &self.parked[worker].slot;
            slot.enter(connection);
            let polled = poll_caught(&mut answer, &mut Context::from_waker(Waker::noop()));
            let (taken, was_blocked) = slot.leave();
            if was_blocked {
                self.wake_watchdog();
            }
            let Some(mut taken) = taken else {
                // It took so long that the client was told so.
                self.leave_to_handlers((polled, answer));
                return None;
            };
            match polled {
                Poll::Ready(answered) => {
                    // It is not ours, and may panic as it is dropped.
                    let _ = caught(|| drop(answer));
                    *now = self.system.now();
                    taken.answer(answered, &self.config, *now);
                    return Some(taken);
                }
                Poll::Pending => connection = taken,
            }
        }
        for exchange in connection.awaits_handler() {
            self.tell_exchange(exchange);
        }
        let number = match self.park(connection, Interest::Nothing, seat) {
            Ok(number) => number,
            Err(refused) => return Some(refused),
        };
        let done = Done { service: Arc::downgrade(self), number, answer: None };
        let task = self.system.spawn(Box::pin(async move {
            let answer = poll_fn(|cx| poll_caught(&mut answer, cx)).await;
            done.is(answer);
        }));
        self.of(number).look_at(number, |connection| connection.handled_by(task));
        None
    }

    /// Has it go on with the next piece of its reply, if that is there; else when it is.
    fn await_piece(
        self: &Arc<Self>,
        mut connection: Box<Connection<Y::Stream>>,
        seat: Option<usize>,
    ) -> Option<Box<Connection<Y::Stream>>> {
        let service = Arc::downgrade(self);
        let resume = Arc::new(Resume {
            service,
            number: AtomicU64::new(u64::MAX),
            woken: AtomicBool::new(false),
        });
        let waker = Waker::from(Arc::clone(&resume));
        let mut cx = Context::from_waker(&waker);
        if connection.poll_piece(&mut cx, &self.config, self.system.now()).is_ready() {
            return Some(connection);
        }
        let number = match self.park(connection, Interest::Nothing, seat) {
            Ok(number) => number,
            Err(refused) => return Some(refused),
        };
        resume.number.store(number, Ordering::SeqCst);
        // It may have been woken before there was a number to go on with.
        if resume.woken.load(Ordering::SeqCst) { self.take(number) } else { None }
    }

    /// The handler's task is over.
    fn answered(self: &Arc<Self>, number: u64, answer: Option<Result<Reply, Fault>>) {
        let Some(mut connection) = self.take(number) else {
            if let Some(answer) = answer {
                self.leave_to_handlers(answer);
            }
            return;
        };
        // Its runtime has thrown it away.
        let answer = answer.unwrap_or_else(|| Err(std::io::Error::other("it was dropped").into()));
        let now = self.system.now();
        connection.answer(answer, &self.config, now);
        self.serve(connection, None, now);
    }

    /// The close. It gives the place back.
    #[expect(clippy::boxed_local, reason = "out of its box it would be copied")]
    fn end(connection: Box<Connection<Y::Stream>>) {
        if connection.stream.has_passed() {
            connection.stream.close_elsewhere();
        }
    }

    pub(crate) fn take(&self, number: u64) -> Option<Box<Connection<Y::Stream>>> {
        self.of(number).take(number)
    }

    /// Where a connection with this number is parked.
    fn of(&self, number: u64) -> &Parked<Y> {
        &self.parked[parked::table_of(number).min(self.parked.len() - 1)]
    }

    /// Drops what a handler has left where handlers go on: that may take long, or panic.
    fn leave_to_handlers(&self, left: impl Send + 'static) {
        // Here, if that runtime is gone.
        let _ = caught(|| self.system.spawn(Box::pin(async move { drop(left) })));
    }

    pub(crate) fn tell_exchange(&self, exchange: Exchange) {
        let left = match &self.events {
            Some(events) => events.tell(Event::Exchange(exchange)),
            None => Some(Event::Exchange(exchange)),
        };
        if let Some(Event::Exchange(exchange)) = left {
            if matches!(&exchange.ended, Ended::Refused(Cause::HandlerFailed(_)) | Ended::Cut(_)) {
                self.leave_to_handlers(exchange);
            }
        }
    }

    pub(crate) fn tell(&self, event: Event) {
        if let Some(events) = &self.events {
            let _ = events.tell(event);
        }
    }

    /// The worker of this table has something to do, and may be blocked by it.
    fn goes_to_work(&self, index: usize) {
        self.parked[index].goes_to_work();
        // One of the two sees the other's store: no worker is at work unseen.
        if self.alarm.is_wanted() {
            self.wake_watchdog();
        }
    }

    pub(crate) fn wake_watchdog(&self) {
        if let Some(watchdog) = self.parked.last() {
            watchdog.poller.wake();
        }
    }

    /// The workers end. One that a handler blocks ends when it is back.
    pub(crate) fn end_workers(&self) {
        self.door.give_to(Acceptor::Nobody);
        self.wake_workers();
    }

    pub(crate) fn wake_workers(&self) {
        for parked in &self.parked[..self.parked.len() - 1] {
            parked.poller.wake();
        }
    }

    /// Says what each connection that waits is waiting for, for `unhang why`.
    pub(crate) fn lines(&self) -> String {
        let now = self.system.now();
        self.parked.iter().map(|parked| parked.lines(&self.config, now)).collect()
    }
}

/// Has the connection go on when its handler's task is over, also if that is thrown away with its runtime.
struct Done<H: Handler, Y: System> {
    service: Weak<Service<H, Y>>,
    number: u64,
    answer: Option<Result<Reply, Fault>>,
}

impl<H: Handler, Y: System> Done<H, Y> {
    fn is(mut self, answer: Result<Reply, Fault>) {
        self.answer = Some(answer);
    }
}

impl<H: Handler, Y: System> Drop for Done<H, Y> {
    fn drop(&mut self) {
        if let Some(service) = self.service.upgrade() {
            service.answered(self.number, self.answer.take());
        }
    }
}

/// Has the connection go on when the next piece of its reply is there.
struct Resume<H: Handler, Y: System> {
    service: Weak<Service<H, Y>>,
    /// Once it is parked.
    number: AtomicU64,
    woken: AtomicBool,
}

impl<H: Handler, Y: System> Wake for Resume<H, Y> {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        let number = self.number.load(Ordering::SeqCst);
        if number == u64::MAX {
            return;
        }
        let Some(service) = self.service.upgrade() else { return };
        if let Some(connection) = service.take(number) {
            let now = service.system.now();
            service.serve(connection, None, now);
        }
    }
}

fn poll_caught(answer: &mut Answer, cx: &mut Context<'_>) -> Poll<Result<Reply, Fault>> {
    caught(|| answer.as_mut().poll(cx))
        .unwrap_or_else(|message| Poll::Ready(Err(Fault::panicked(message))))
}
