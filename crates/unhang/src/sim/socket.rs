//! A socket pair without a kernel: bounded buffers, half-close, and a reset if an end closes over
//! unread bytes, as unix(7) has it. It notes when everything happened.

mod facts;
mod server_end;

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

use crate::handler::Peer;
use crate::serve::stream::Interest;

use super::clock;

pub(crate) use facts::{Facts, Side, Trap};
pub(crate) use server_end::ServerEnd;

/// Both ends of one connection.
#[derive(Clone)]
pub(crate) struct Socket(Arc<Mutex<Facts>>);

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
