//! Serving: what all threads of a server share, and the one way a connection goes on.
//!
//! One request's way is the list of these modules: the [`door`] lets a client in, [`admission`] says
//! whether it may ask, a [`worker`] steps its [`connection`] and has its request [handled](handle), and what
//! has to wait is [`parked`]. The [`watchdog`] keeps every deadline.

pub(crate) mod admission;
pub(crate) mod alarm;
pub(crate) mod apart;
pub(crate) mod bounds;
pub(crate) mod caught;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod door;
pub(crate) mod events;
mod handle;
pub(crate) mod linux;
pub(crate) mod parked;
mod slot;
pub(crate) mod stream;
pub(crate) mod system;
pub(crate) mod table;
#[cfg(feature = "tracing")]
mod trace;
pub(crate) mod watchdog;
pub(crate) mod worker;

use std::sync::Arc;
use std::time::Instant;

use crate::event::Cause;
use crate::handler::Handler;
use admission::{Admission, Client, Place};
use alarm::Alarm;
use apart::Apart;
use config::Config;
use connection::{Connection, Next, Watched};
use door::{Acceptor, Door};
use events::Events;
use parked::Parked;
use stream::{Interest, Stream};
use system::{Poller, System};

pub(crate) struct Service<H, Y: System> {
    pub(crate) system: Y,
    pub(crate) config: Config,
    pub(crate) admission: Admission,
    /// The same one for each worker, and the last for the watchdog. Each future keeps an `Arc` of it, and the
    /// workers need not wait for one another to count those.
    pub(crate) handlers: Vec<Arc<Apart<Arc<H>>>>,
    pub(crate) door: Door<Y>,
    /// One for each worker, and the last for the watchdog.
    pub(crate) parked: Vec<Parked<Y>>,
    pub(crate) events: Option<Arc<Events>>,
    pub(crate) alarm: Alarm,
}

/// So many exchanges of one connection, and then others have their turn: as many as fit into one write.
const TURN: u32 = 64;

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
                let mut connection =
                    Connection::new(stream, &self.config, client, Some(place), now);
                connection.home =
                    u8::try_from(seat.unwrap_or(self.parked.len() - 1)).unwrap_or_default();
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
        let home = usize::from(connection.home);
        if seat != Some(home) {
            self.parked[home].mute(&mut connection);
        }
        let mut paused = seat.is_none() || connection.watched != Watched::No;
        let before = connection.exchanges();
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
                    paused = true;
                    if let Some(exchange) = exchange {
                        self.tell_exchange(exchange);
                    }
                    // The poller tells of what has come meanwhile: to look first costs as much as that, and
                    // a client that always has more would keep the thread from all others.
                    let interest = match &connection {
                        idle if idle.is_idle() => Interest::Read,
                        more if more.has_more() && more.exchanges() - before >= TURN => {
                            Interest::Write
                        }
                        _ => continue,
                    };
                    match self.park(connection, interest, seat) {
                        Ok(_) => return,
                        Err(refused) => connection = refused,
                    }
                }
                Next::Done(exchange) => {
                    // First the close, then the log.
                    self.end(connection);
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
        // It gets no second turn without a place.
        connection.says_last();
        connection.refuse(cause, &self.config, now);
        let exchange = match connection.step(&self.config, now) {
            Next::Done(exchange) => exchange,
            _ => connection.give_up(&self.config, self.system.now()),
        };
        self.end(connection);
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
            _ if connection.watched != Watched::No => usize::from(connection.home),
            Some(worker) => worker,
            None => self.parked.len() - 1,
        };
        if connection.rests() {
            connection.lends_place();
        }
        let due = connection.due(&self.config);
        match self.parked[home].park(connection, interest, due) {
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
        if connection.watched != Watched::No {
            self.parked[usize::from(connection.home)].forget(&mut connection);
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

    /// The close. It gives the place back.
    fn end(&self, mut connection: Box<Connection<Y::Stream>>) {
        if connection.watched == Watched::Each {
            // Not by the close alone: a process that the handler has forked may hold a copy, which would be
            // reported for ever.
            self.parked[usize::from(connection.home)].forget(&mut connection);
        }
        if connection.stream.has_passed() {
            connection.stream.close_elsewhere();
        }
    }

    pub(crate) fn take(&self, number: u64) -> Option<Box<Connection<Y::Stream>>> {
        self.of(number).take(number)
    }

    /// The one that was reported under this number.
    pub(crate) fn take_reported(&self, number: u64) -> Option<Box<Connection<Y::Stream>>> {
        let connection = self.take(number);
        if connection.is_none() {
            // With a worker that a handler blocks, it would be reported again and again.
            self.of(number).mute_blocked(number);
        }
        connection
    }

    /// Where a connection with this number is parked.
    fn of(&self, number: u64) -> &Parked<Y> {
        &self.parked[table::table_of(number).min(self.parked.len() - 1)]
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
