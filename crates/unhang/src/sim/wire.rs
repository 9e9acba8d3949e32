//! A socket pair without a kernel: bounded buffers, half-close, and a reset for whoever closes over
//! unread bytes, as unix(7) has it. It notes when everything happened.

mod server_end;

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::time::Instant;

use crate::handler::Peer;

pub(super) use server_end::ServerEnd;

/// Both ends of one connection.
#[derive(Clone)]
pub(super) struct Wire(Arc<Mutex<Facts>>);

/// Everything that is known of a connection, by whom, and when.
pub(super) struct Facts {
    pub(super) peer: Option<Peer>,
    /// How many bytes each direction holds before its writer has to wait.
    pub(super) room: usize,
    /// What the client sent, when it had sent how much, and how much of it the server has read.
    pub(super) sent: Vec<u8>,
    pub(super) arrivals: Vec<(Instant, usize)>,
    pub(super) read: usize,
    pub(super) client: Side,
    pub(super) left: Option<Instant>,
    /// What the server wrote, and how much of it the client has taken.
    pub(super) written: Vec<u8>,
    pub(super) first_written: Option<Instant>,
    pub(super) taken: usize,
    pub(super) last_taken: Option<Instant>,
    pub(super) connected: Instant,
    pub(super) accepted: Option<Instant>,
    /// Since when the accept queue had not been empty when it was accepted.
    pub(super) queue_busy_since: Option<Instant>,
    /// When the handler was asked with how many bytes, and when it was done.
    pub(super) asked: Option<(Instant, usize)>,
    pub(super) answered: Option<Instant>,
    pub(super) half_closed: Option<Instant>,
    pub(super) closed: Option<Instant>,
    /// How many bytes were thrown away with the close.
    pub(super) thrown_away: usize,
    /// How many exchanges were told of it, and how the last one ended.
    pub(super) exchanges: usize,
    pub(super) ending: String,
    /// What happens in the midst of a call of the server, when so many have gone before.
    pub(super) trap: Option<(u32, Trap)>,
    /// What the server did that it must never do.
    pub(super) offences: Vec<&'static str>,
    /// How often the server has called, and since when, while time stood still.
    calls: (usize, Instant),
    waiting: Vec<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Open,
    HalfClosed(Instant),
    /// It has closed.
    Gone,
    /// It has closed over bytes that it had not read.
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trap {
    /// The client vanishes.
    Vanish,
    /// The client sends another byte.
    Send,
    /// The call fails as no call should.
    Fail,
}

/// What a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Bytes,
    End,
}

impl Wire {
    pub(super) fn new(peer: Option<Peer>, room: usize, trap: Option<(u32, Trap)>) -> Self {
        Self(Arc::new(Mutex::new(Facts {
            peer,
            room,
            sent: Vec::new(),
            arrivals: Vec::new(),
            read: 0,
            client: Side::Open,
            left: None,
            written: Vec::new(),
            first_written: None,
            taken: 0,
            last_taken: None,
            connected: Instant::now(),
            accepted: None,
            queue_busy_since: None,
            asked: None,
            answered: None,
            half_closed: None,
            closed: None,
            thrown_away: 0,
            exchanges: 0,
            ending: String::new(),
            trap,
            offences: Vec::new(),
            calls: (0, Instant::now()),
            waiting: Vec::new(),
        })))
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        // A world that panics is still taken down, wire by wire.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn accept(&self, queue_busy_since: Option<Instant>) -> ServerEnd {
        let mut facts = self.facts();
        facts.accepted = Some(Instant::now());
        facts.queue_busy_since = queue_busy_since;
        ServerEnd(self.clone())
    }

    /// What closing the listener does to those who are in its queue.
    pub(super) fn reset_in_queue(&self) {
        let mut facts = self.facts();
        if !facts.is_left() {
            facts.offences.push("reset in the accept queue");
        }
        facts.close();
    }

    /// Sends it all; false when the server does not take it any more.
    pub(super) async fn send(&self, bytes: &[u8]) -> bool {
        let mut left = bytes;
        self.until(|facts| {
            if facts.client != Side::Open || facts.closed.is_some() {
                return ControlFlow::Break(left.is_empty());
            }
            let count = left.len().min(facts.room.saturating_sub(facts.unread()));
            facts.receive(&left[..count]);
            left = &left[count..];
            if left.is_empty() { ControlFlow::Break(true) } else { ControlFlow::Continue(()) }
        })
        .await
    }

    /// Takes at least one byte, or the end.
    pub(super) async fn take(&self, most: usize) -> Taken {
        self.until(|facts| {
            let count = most.min(facts.written.len() - facts.taken);
            if count > 0 {
                facts.taken += count;
                facts.last_taken = Some(Instant::now());
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
    pub(super) async fn over(&self) {
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
                    facts.waiting.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub(super) fn half_close(&self) {
        let mut facts = self.facts();
        if facts.client == Side::Open {
            facts.client = Side::HalfClosed(Instant::now());
            facts.wake();
        }
    }

    pub(super) fn leave(&self) {
        self.facts().leave();
    }
}

impl Facts {
    /// When a client that reads comes to the end.
    pub(super) fn ended(&self) -> Option<Instant> {
        self.half_closed.or(self.closed)
    }

    pub(super) fn is_left(&self) -> bool {
        matches!(self.client, Side::Gone | Side::Reset)
    }

    /// Accepted, and not closed.
    pub(super) fn is_open(&self) -> bool {
        self.accepted.is_some() && self.closed.is_none()
    }

    fn has_ended(&self) -> bool {
        self.ended().is_some() || self.is_left()
    }

    fn unread(&self) -> usize {
        self.sent.len() - self.read
    }

    fn receive(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.sent.extend_from_slice(bytes);
            self.arrivals.push((Instant::now(), self.sent.len()));
            self.wake();
        }
    }

    fn leave(&mut self) {
        if !self.is_left() {
            self.left = Some(Instant::now());
            let unread = self.taken < self.written.len();
            self.client = if unread { Side::Reset } else { Side::Gone };
            self.wake();
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
        let now = Instant::now();
        self.calls = if self.calls.1 == now { (self.calls.0 + 1, now) } else { (0, now) };
        assert!(self.calls.0 < 100_000, "a connection spins");
        match &mut self.trap {
            Some((0, trap)) => {
                let trap = *trap;
                self.trap = None;
                match trap {
                    Trap::Vanish => self.leave(),
                    Trap::Send if self.client == Side::Open => self.receive(b"!"),
                    Trap::Send => {}
                    Trap::Fail => return Err(io::ErrorKind::OutOfMemory.into()),
                }
            }
            Some((calls, _)) => *calls -= 1,
            None => {}
        }
        Ok(())
    }

    fn close(&mut self) {
        self.closed = Some(Instant::now());
        self.wake();
    }
}
