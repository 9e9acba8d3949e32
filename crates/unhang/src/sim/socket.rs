//! A socket pair without a kernel: bounded buffers, half-close, and a reset if an end closes over
//! unread bytes, as unix(7) has it. It notes when everything happened.

mod server_end;

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

use crate::handler::Peer;
use crate::serve::stream::Interest;

use super::clock;

pub(crate) use server_end::ServerEnd;

/// Both ends of one connection.
#[derive(Clone)]
pub(crate) struct Socket(Arc<Mutex<Facts>>);

/// Everything that is known of a connection, by which end, and when.
pub(crate) struct Facts {
    key: u64,
    pub(crate) peer: Option<Peer>,
    /// How many bytes each direction holds before its writer has to wait.
    pub(crate) room: usize,
    /// What the client sent, when it had sent how much, and how much of it the server has read.
    pub(crate) sent: Vec<u8>,
    pub(crate) arrivals: Vec<(Instant, usize)>,
    pub(crate) read: usize,
    /// How much of it the server has read or looked at.
    pub(crate) seen: usize,
    pub(crate) client: Side,
    pub(crate) left: Option<Instant>,
    /// When it half-closed, or left.
    pub(crate) finished: Option<Instant>,
    /// All that the client will have sent, on a connection that is kept.
    pub(crate) ahead: Bytes,
    /// What the server wrote, when it had written how much, and how much of it the client has taken.
    pub(crate) written: Vec<u8>,
    pub(crate) writes: Vec<(Instant, usize)>,
    pub(crate) taken: usize,
    pub(crate) last_taken: Option<Instant>,
    pub(crate) connected: Instant,
    pub(crate) accepted: Option<Instant>,
    /// By which server, if several share the listener.
    pub(crate) server: usize,
    /// Since when the accept queue had not been empty when it was accepted.
    pub(crate) queue_busy_since: Option<Instant>,
    /// When the handler was asked with how many bytes, and when it was done.
    pub(crate) asked: Option<(Instant, usize)>,
    pub(crate) answered: Option<Instant>,
    pub(crate) half_closed: Option<Instant>,
    /// Its input was shut: the client's next write fails.
    pub(crate) input_shut: bool,
    /// So many bytes lay unread in that moment.
    pub(crate) shut_over: usize,
    pub(crate) closed: Option<Instant>,
    /// It was closed over unread bytes: the client gets an error for its end.
    pub(crate) reset: bool,
    /// How many bytes were thrown away with the close.
    pub(crate) thrown_away: usize,
    /// How many exchanges were told of it, and how the last one ended.
    pub(crate) exchanges: usize,
    pub(crate) ending: String,
    /// What happens in the midst of a call of the server, when so many have gone before.
    pub(crate) trap: Option<(u32, Trap)>,
    /// What the server did that it must never do.
    pub(crate) offences: Vec<&'static str>,
    /// How often the server has called, and since when, while time stood still.
    calls: (usize, Instant),
    waiting: Vec<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Open,
    HalfClosed(Instant),
    /// It has closed.
    Gone,
    /// It has closed over bytes that it had not read.
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trap {
    /// The client vanishes.
    Vanish,
    /// The client sends another byte.
    Send,
    /// The client sends so much more of what it will have sent.
    Ahead(usize),
    /// The call fails as no call should.
    Fail,
}

/// What a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Bytes,
    End,
}

impl Socket {
    pub(crate) fn new(peer: Option<Peer>, room: usize, trap: Option<(u32, Trap)>) -> Self {
        Self(Arc::new(Mutex::new(Facts {
            key: clock::number(),
            peer,
            room,
            sent: Vec::new(),
            arrivals: Vec::new(),
            read: 0,
            seen: 0,
            client: Side::Open,
            left: None,
            finished: None,
            ahead: Bytes::new(),
            written: Vec::new(),
            writes: Vec::new(),
            taken: 0,
            last_taken: None,
            connected: clock::now(),
            accepted: None,
            server: 0,
            queue_busy_since: None,
            asked: None,
            answered: None,
            half_closed: None,
            input_shut: false,
            shut_over: 0,
            closed: None,
            reset: false,
            thrown_away: 0,
            exchanges: 0,
            ending: String::new(),
            trap,
            offences: Vec::new(),
            calls: (0, clock::now()),
            waiting: Vec::new(),
        })))
    }

    /// Tells this connection from all others, in the order in which they came.
    pub(crate) fn key(&self) -> u64 {
        self.facts().key
    }

    /// Whether a poller would report it.
    pub(crate) fn is_ready(&self, interest: Interest) -> bool {
        let facts = self.facts();
        // As EPOLLHUP, which comes unasked.
        let left = facts.is_left();
        match interest {
            Interest::Read | Interest::EachRead => {
                left || facts.unread() > 0 || facts.client != Side::Open
            }
            Interest::Write => left || facts.written.len() - facts.taken < facts.room,
            Interest::Nothing => left,
        }
    }

    /// Wakes when that may have changed.
    pub(crate) fn wakes(&self, waker: &Waker) {
        self.facts().wakes(waker);
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        // A world that panics is still taken down, wire by socket.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn accept(&self, server: usize, queue_busy_since: Option<Instant>) -> ServerEnd {
        let mut facts = self.facts();
        facts.server = server;
        facts.accepted = Some(clock::now());
        facts.queue_busy_since = queue_busy_since;
        ServerEnd(self.clone())
    }

    /// What closing the listener does to the clients in its queue.
    pub(crate) fn reset_in_queue(&self) {
        let mut facts = self.facts();
        if !facts.is_left() {
            facts.offences.push("reset in the accept queue");
        }
        facts.close();
    }

    /// Sends it all; false when the server does not take it any more.
    pub(crate) async fn send(&self, bytes: &[u8]) -> bool {
        let mut left = bytes;
        self.until(|facts| {
            if facts.client != Side::Open || facts.closed.is_some() || facts.input_shut {
                return ControlFlow::Break(left.is_empty());
            }
            let count = left.len().min(facts.room.saturating_sub(facts.unread()));
            facts.receive(&left[..count]);
            left = &left[count..];
            if left.is_empty() { ControlFlow::Break(true) } else { ControlFlow::Continue(()) }
        })
        .await
    }

    /// Sends what it will have sent, up to here; false when the server does not take it any more.
    pub(crate) async fn send_up_to(&self, end: usize) -> bool {
        self.until(|facts| {
            if facts.client != Side::Open || facts.closed.is_some() || facts.input_shut {
                return ControlFlow::Break(facts.sent.len() >= end);
            }
            facts.send_ahead(end.saturating_sub(facts.sent.len()));
            match facts.sent.len() >= end {
                true => ControlFlow::Break(true),
                false => ControlFlow::Continue(()),
            }
        })
        .await
    }

    /// Waits until `done` with what the client has taken, or until it can take no more.
    pub(crate) async fn until_taken(&self, mut done: impl FnMut(&[u8]) -> bool) {
        self.until(|facts| {
            let is_over = facts.closed.is_some()
                || facts.is_left()
                || facts.has_ended() && facts.taken == facts.written.len();
            match is_over || done(&facts.written[..facts.taken]) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
        .await;
    }

    /// Sends what there is room for.
    #[cfg(fuzzing)]
    pub(crate) fn send_now(&self, bytes: &[u8]) -> usize {
        let mut facts = self.facts();
        if facts.client != Side::Open || facts.closed.is_some() || facts.input_shut {
            return 0;
        }
        let count = bytes.len().min(facts.room.saturating_sub(facts.unread()));
        facts.receive(&bytes[..count]);
        count
    }

    /// Takes what is there.
    #[cfg(fuzzing)]
    pub(crate) fn take_now(&self, most: usize) {
        let mut facts = self.facts();
        facts.taken += most.min(facts.written.len() - facts.taken);
        facts.wake();
    }

    /// Takes at least one byte, or the end.
    pub(crate) async fn take(&self, most: usize) -> Taken {
        self.until(|facts| {
            let count = most.min(facts.written.len() - facts.taken);
            if count > 0 {
                facts.taken += count;
                facts.last_taken = Some(clock::now());
                facts.wake();
            }
            match count {
                1.. => ControlFlow::Break(Taken::Bytes),
                0 if facts.has_ended() => ControlFlow::Break(Taken::End),
                0 => ControlFlow::Continue(()),
            }
        })
        .await
    }

    /// Waits until nothing can come of it any more.
    pub(crate) async fn over(&self) {
        self.until(|facts| match facts.closed.is_some() || facts.is_left() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
        .await;
    }

    async fn until<T>(&self, mut done: impl FnMut(&mut Facts) -> ControlFlow<T>) -> T {
        poll_fn(|cx| {
            let mut facts = self.facts();
            match done(&mut facts) {
                ControlFlow::Break(value) => Poll::Ready(value),
                ControlFlow::Continue(()) => {
                    facts.wakes(cx.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub(crate) fn half_close(&self) {
        let mut facts = self.facts();
        if facts.client == Side::Open {
            facts.client = Side::HalfClosed(clock::now());
            facts.finished = Some(clock::now());
            facts.wake();
        }
    }

    pub(crate) fn leave(&self) {
        self.facts().leave();
    }
}

impl Facts {
    /// When a client that reads comes to the end.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.half_closed.or(self.closed)
    }

    pub(crate) fn is_left(&self) -> bool {
        matches!(self.client, Side::Gone | Side::Reset)
    }

    /// Accepted, and not closed.
    pub(crate) fn is_open(&self) -> bool {
        self.accepted.is_some() && self.closed.is_none()
    }

    fn has_ended(&self) -> bool {
        self.ended().is_some() || self.is_left()
    }

    fn unread(&self) -> usize {
        self.sent.len() - self.read
    }

    pub(crate) fn first_written(&self) -> Option<Instant> {
        self.writes.first().map(|&(at, _)| at)
    }

    pub(crate) fn last_written(&self) -> Option<Instant> {
        self.writes.last().map(|&(at, _)| at)
    }

    /// So much of what it will have sent, if there is room.
    fn send_ahead(&mut self, count: usize) {
        if self.closed.is_some() || self.input_shut {
            return;
        }
        let ahead = self.ahead.slice(self.sent.len().min(self.ahead.len())..);
        let room = self.room.saturating_sub(self.unread());
        self.receive(&ahead[..count.min(room).min(ahead.len())]);
    }

    fn receive(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.sent.extend_from_slice(bytes);
            self.arrivals.push((clock::now(), self.sent.len()));
            self.wake();
        }
    }

    fn leave(&mut self) {
        if !self.is_left() {
            self.left = Some(clock::now());
            self.finished.get_or_insert_with(clock::now);
            let unread = self.taken < self.written.len();
            self.client = if unread { Side::Reset } else { Side::Gone };
            self.wake();
        }
    }

    /// Once each: a poller asks again in each of its waits.
    fn wakes(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|waits| waits.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Every call of the server comes through here, so that something can happen in its midst.
    fn enter(&mut self) -> io::Result<()> {
        if self.closed.is_some() {
            self.offences.push("used after the close");
        }
        let now = clock::now();
        self.calls = if self.calls.1 == now { (self.calls.0 + 1, now) } else { (0, now) };
        assert!(self.calls.0 < 100_000, "a connection spins");
        match &mut self.trap {
            Some((0, trap)) => {
                let trap = *trap;
                self.trap = None;
                match trap {
                    Trap::Vanish => self.leave(),
                    Trap::Send if self.client == Side::Open => self.receive(b"!"),
                    Trap::Ahead(count) if self.client == Side::Open => self.send_ahead(count),
                    Trap::Send | Trap::Ahead(_) => {}
                    Trap::Fail => return Err(io::ErrorKind::OutOfMemory.into()),
                }
            }
            Some((calls, _)) => *calls -= 1,
            None => {}
        }
        Ok(())
    }

    fn close(&mut self) {
        self.closed = Some(clock::now());
        self.wake();
    }
}
