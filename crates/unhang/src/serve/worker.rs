//! One thread that accepts and answers: accept → one attempt → whatever has to wait moves on.

use std::io;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::sync::OwnedSemaphorePermit;

use crate::attempt::attempt;
use crate::handler::Handler;
use crate::isolate::{self, caught};
use crate::limits::BURST;
use crate::line::InLine;
use crate::listen::Listener;
use crate::serve::door::Service;
use crate::serve::stream::{Lifeline, Socket, Stream};
use crate::shards::{Inside, Mode, Shard, Shards, Told};
use crate::standby::Pace;
use crate::thinking::Asked;
use crate::waiter::Waiter;

/// A wait that was over sooner had not begun: somebody was in the queue already.
const NO_WAIT: Duration = Duration::from_micros(3);

/// What a shard does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It may look for another client.
    Accept,
    /// It waits until there is one.
    Wait,
    /// It cannot go on.
    Trouble,
}

/// The threads of all shards. Dropped, they end; one that is blocked does so when it is back.
pub(crate) struct Threads {
    shards: Arc<Shards>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts them; they wait to be let in.
pub(crate) fn start<H: Handler>(
    count: usize,
    service: &Service<H>,
    listener: &Arc<Listener>,
) -> io::Result<Threads> {
    let shards = Arc::new(Shards::new(count)?);
    let mut threads = Threads { shards: Arc::clone(&shards), threads: Vec::new() };
    for at in 0..count {
        let waiter = Waiter::new(&shards.all[at], listener)?;
        let service = Arc::new(service.copy());
        let (shards, listener) = (Arc::clone(&shards), Arc::downgrade(listener));
        let thread = std::thread::Builder::new().name(format!("unhang-{at}"));
        let run = move || run(&service, &shards, &shards.all[at], &waiter, &listener);
        threads.threads.push(thread.spawn(run)?);
    }
    Ok(threads)
}

impl Threads {
    pub(crate) fn all(&self) -> &Arc<Shards> {
        &self.shards
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shards.end();
        for (shard, thread) in self.shards.all.iter().zip(self.threads.drain(..)) {
            // Who is not parked by now is blocked by a handler, and nobody knows for how long.
            if shard.is_parked() {
                let _ = thread.join();
            }
        }
    }
}

/// The thread, until the server ends. Weak, as a shard that is blocked must not keep the socket.
pub(crate) fn run<H: Handler>(
    service: &Arc<Service<H>>,
    shards: &Shards,
    shard: &Shard,
    waiter: &Waiter,
    listener: &Weak<Listener>,
) {
    // Handlers begin here: their timers and sockets are those of the runtime that they go on in.
    let _context = service.handlers.enter();
    let mut opened = 0;
    while let Told::Accept(now) = shards.wait_until_told(shard, opened) {
        opened = now;
        serve_while_open(service, shards, shard, waiter, listener);
    }
}

fn serve_while_open<H: Handler>(
    service: &Arc<Service<H>>,
    shards: &Shards,
    shard: &Shard,
    waiter: &Waiter,
    listener: &Weak<Listener>,
) {
    let (mut seat, mut burst) = (None, 1);
    let mut now = Instant::now();
    let mut pace = Pace::new(now);
    while shards.mode() == Mode::Open {
        shard.rests();
        if shards.somebody_stands_by()
            && (pace.is_long() || pace.is_pressed(now) && somebody_waits(listener))
        {
            shards.call_another();
            now = Instant::now();
        }
        waiter.wait(shards, shard, listener);
        let begun = Instant::now();
        burst = if begun - now > NO_WAIT { 1 } else { BURST.min(2 * burst) };
        if burst == 1 {
            pace.rested(begun);
        }
        shards.goes_to_work(shard);
        let (mut next, mut tries) = (Next::Accept, 0);
        while next == Next::Accept && tries < burst && shards.mode() == Mode::Open {
            next = service.serve_next(shards, shard, &mut seat, || accept(listener));
            tries += 1;
        }
        // Woken for nobody: by its bell, because another was sooner, or for ever.
        let for_nobody = next == Next::Wait && tries == 1;
        if next == Next::Trouble || for_nobody && is_shut(listener) {
            return shards.is_in_trouble();
        }
        now = Instant::now();
        shards.heed(now - begun, pace.took(now - begun, tries));
    }
}

fn accept(listener: &Weak<Listener>) -> rustix::io::Result<Socket> {
    // Without a listener the server is at its end.
    let listener = listener.upgrade().ok_or(Errno::BADF)?;
    match listener.accept() {
        // With no descriptor left an empty queue gives that error, too.
        Err(Errno::MFILE | Errno::NFILE) if !listener.has_waiting() => Err(Errno::AGAIN),
        accepted => accepted.map(Socket::new),
    }
}

pub(crate) fn somebody_waits(listener: &Weak<Listener>) -> bool {
    listener.upgrade().is_some_and(|listener| listener.has_waiting())
}

fn is_shut(listener: &Weak<Listener>) -> bool {
    listener.upgrade().is_some_and(|listener| listener.is_shut())
}

impl<H: Handler> Service<H> {
    /// Attempts the exchange with the next client. `seat` is the place that a shard keeps for it.
    pub(crate) fn serve_next<S>(
        self: &Arc<Self>,
        shards: &Shards,
        shard: &Shard,
        seat: &mut Option<OwnedSemaphorePermit>,
        accept: impl FnOnce() -> rustix::io::Result<S>,
    ) -> Next
    where
        S: Stream + Send + 'static,
    {
        // First the place: who cannot be served yet waits in the accept queue.
        let Some(place) = seat.take().or_else(|| self.places.try_take()) else {
            return Next::Trouble;
        };
        let stream = match accept() {
            Ok(stream) => stream,
            Err(error) => {
                *seat = Some(place);
                return match error {
                    Errno::INTR | Errno::CONNABORTED => Next::Accept,
                    Errno::AGAIN => Next::Wait,
                    // It comes again for whoever takes the door over, and is dealt with there.
                    _ => Next::Trouble,
                };
            }
        };
        let peer = self.peer_of(&stream);
        match self.admission.admit(peer, &self.rules.limits) {
            Ok(guest) => {
                let inside = Inside::new(stream.lifeline(), place, guest);
                *seat = self.attempt(shards, shard, stream, inside);
            }
            Err(cause) => {
                *seat = Some(place);
                self.turn_away(stream, cause);
            }
        }
        Next::Accept
    }

    /// Gives the place back, where it is not needed any more.
    fn attempt<S>(
        self: &Arc<Self>,
        shards: &Shards,
        shard: &Shard,
        stream: S,
        inside: Inside,
    ) -> Option<OwnedSemaphorePermit>
    where
        S: Stream + Send + 'static,
    {
        let guest = inside.guest.clone();
        let mut exchange = Box::pin(Arc::clone(self).exchange(stream, guest));
        shard.enter(inside);
        let attempted = caught(|| attempt(exchange.as_mut()));
        let handler = isolate::left();
        let Some(inside) = shards.leave(shard) else {
            // It took so long that the client was told so long since.
            self.leave_to_handlers((attempted, handler));
            return None;
        };
        let Inside { lifeline, place, guest, stuck } = inside;
        match attempted {
            Ok(Poll::Ready(exchange)) => {
                // First the end, which for a client that has half-closed is the close of this.
                drop(lifeline);
                self.conclude(exchange);
                return Some(place);
            }
            // What a handler leaves behind is not ours, and may panic as it is dropped: this connection
            // is closed.
            Err(_) => return Some(place),
            Ok(Poll::Pending) => {}
        }
        let counted = self.gauges.connection();
        if let Some(handler) = handler {
            let what = Asked { exchange, fd: lifeline.as_ref().map(Lifeline::descriptor) };
            // First let go: whoever goes on with the exchange may want its stream for itself.
            drop(lifeline);
            let asked = InLine { what, guest, place, counted };
            if stuck { self.think_late(handler, asked) } else { self.think(handler, asked) }
        } else if let Some(what) = lifeline.and_then(Lifeline::silent) {
            drop(exchange);
            let idler = InLine { what, guest, place, counted };
            if let Err(idler) = shards.idle.admit(idler) {
                self.begin_again(idler);
            }
        } else {
            self.go_on(exchange, place, counted);
        }
        None
    }
}
