//! A request's handler: begun on the thread that has read the request, and gone on with elsewhere if it
//! waits. And what is told of an exchange in the end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use super::Service;
use super::caught::caught;
use super::connection::Connection;
use super::stream::Interest;
use super::system::System;
#[cfg(feature = "tracing")]
use super::trace;
use crate::event::{Cause, Ended, Event, Exchange, Scarce};
use crate::handler::{Fault, Handler, Reply, Request};

type Answer = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>>;

impl<H: Handler, Y: System> Service<H, Y> {
    /// Gives the connection back if it is answered already.
    pub(super) fn ask(
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
        // Kept until the handler is gone, if that has dropped its request before.
        let (handler, held) =
            (Arc::clone(&self.handlers[seat.unwrap_or(self.handlers.len() - 1)]), request.held());
        let answer = async move { handler.0.handle(request).await };
        #[cfg(feature = "tracing")]
        let answer = {
            let id = trace::next_id();
            connection.runs_in_span(id);
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
                self.leave_to_handlers((polled, answer, held));
                return None;
            };
            match polled {
                Poll::Ready(answered) => {
                    self.parked[worker].answers_at_once.store(true, Ordering::Relaxed);
                    // It is not ours, and may panic as it is dropped.
                    let _ = caught(|| drop(answer));
                    if answered.as_ref().is_ok_and(|reply| reply.whole().is_none()) {
                        taken.handler_holds(held.as_ref());
                    }
                    drop(held);
                    *now = self.system.now();
                    taken.answer(answered, &self.config, *now);
                    return Some(taken);
                }
                Poll::Pending => {
                    self.parked[worker].answers_at_once.store(false, Ordering::Relaxed);
                    connection = taken;
                }
            }
        }
        connection.handler_holds(held.as_ref());
        for exchange in connection.awaits_handler() {
            self.tell_exchange(exchange);
        }
        let number = match self.park(connection, Interest::Nothing, seat) {
            Ok(number) => number,
            Err(refused) => return Some(refused),
        };
        let done = Done { service: Arc::downgrade(self), number, answer: None };
        let task = self.system.spawn(Box::pin(async move {
            let _held = held;
            let answer = poll_fn(|cx| poll_caught(&mut answer, cx)).await;
            done.is(answer);
        }));
        self.of(number).look_at(number, |connection| connection.handled_by(task));
        None
    }

    /// Has it go on with the next piece of its reply, if that is there; else when it is.
    pub(super) fn await_piece(
        self: &Arc<Self>,
        mut connection: Box<Connection<Y::Stream>>,
        seat: Option<usize>,
    ) -> Option<Box<Connection<Y::Stream>>> {
        if let Some(worker) = seat {
            self.parked[worker].answers_at_once.store(false, Ordering::Relaxed);
        }
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

    /// Drops what a handler has left where handlers go on: that may take long, or panic.
    fn leave_to_handlers(&self, left: impl Send + 'static) {
        // Here, if that runtime is gone.
        let _ = caught(|| self.system.spawn(Box::pin(async move { drop(left) })));
    }

    pub(crate) fn tell_exchange(&self, exchange: Exchange) {
        let event = Event::Exchange(exchange);
        if let Some(events) = self.events.as_ref().filter(|events| events.wants(&event)) {
            if let Some(dropped) = events.keep(event) {
                self.drop_exchange(dropped);
            }
        } else {
            self.drop_exchange(event);
        }
    }

    /// An error in it is the handler's.
    fn drop_exchange(&self, event: Event) {
        let Event::Exchange(exchange) = &event else { return };
        if matches!(exchange.ended, Ended::Refused(Cause::HandlerFailed(_)) | Ended::Cut(_)) {
            self.leave_to_handlers(event);
        }
    }

    pub(crate) fn tell(&self, event: Event) {
        if let Some(events) = self.events.as_ref().filter(|events| events.wants(&event)) {
            let _ = events.keep(event);
        }
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
