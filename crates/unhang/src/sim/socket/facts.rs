//! What is known of a simulated connection, and what may happen to it.

use std::io;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use crate::handler::Peer;

use crate::sim::clock;

/// Everything that is known of a connection, by which end, and when.
pub(crate) struct Facts {
    pub(super) key: u64,
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
    pub(super) calls: (usize, Instant),
    pub(super) waiting: Vec<Waker>,
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

    pub(super) fn has_ended(&self) -> bool {
        self.ended().is_some() || self.is_left()
    }

    pub(super) fn unread(&self) -> usize {
        self.sent.len() - self.read
    }

    pub(crate) fn first_written(&self) -> Option<Instant> {
        self.writes.first().map(|&(at, _)| at)
    }

    pub(crate) fn last_written(&self) -> Option<Instant> {
        self.writes.last().map(|&(at, _)| at)
    }

    /// So much of what it will have sent, if there is room.
    pub(super) fn send_ahead(&mut self, count: usize) {
        if self.closed.is_some() || self.input_shut {
            return;
        }
        let ahead = self.ahead.slice(self.sent.len().min(self.ahead.len())..);
        let room = self.room.saturating_sub(self.unread());
        self.receive(&ahead[..count.min(room).min(ahead.len())]);
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.sent.extend_from_slice(bytes);
            self.arrivals.push((clock::now(), self.sent.len()));
            self.wake();
        }
    }

    pub(super) fn leave(&mut self) {
        if !self.is_left() {
            self.left = Some(clock::now());
            self.finished.get_or_insert_with(clock::now);
            let unread = self.taken < self.written.len();
            self.client = if unread { Side::Reset } else { Side::Gone };
            self.wake();
        }
    }

    /// Once each: a poller asks again in each of its waits.
    pub(super) fn wakes(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|waits| waits.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    pub(super) fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Every call of the server comes through here, so that something can happen in its midst.
    pub(super) fn enter(&mut self) -> io::Result<()> {
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

    pub(super) fn close(&mut self) {
        self.closed = Some(clock::now());
        self.wake();
    }
}
