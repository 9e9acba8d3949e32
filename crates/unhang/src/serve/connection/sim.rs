//! A stream without a kernel: the server's end is a [`Stream`], the client's end does what a test
//! or a fuzzer says.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::handler::{Caller, Peer};
use crate::serve::stream::Stream;

/// The server's end.
pub(crate) struct Simulated(Arc<Mutex<Wire>>);

/// The client's end.
#[derive(Clone)]
pub(crate) struct Client(Arc<Mutex<Wire>>);

struct Wire {
    connected: Instant,
    /// What the client has sent and the server not yet read.
    queue: VecDeque<u8>,
    client: Side,
    /// What the server has written, and how much more the client takes.
    received: Vec<u8>,
    room: usize,
    half_closed: Option<Instant>,
    closed: Option<Instant>,
    waiting: Vec<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Open,
    HalfClosed,
    Gone,
    Reset,
}

pub(crate) fn pair() -> (Simulated, Client) {
    let wire = Arc::new(Mutex::new(Wire {
        connected: Instant::now(),
        queue: VecDeque::new(),
        client: Side::Open,
        received: Vec::new(),
        room: usize::MAX,
        half_closed: None,
        closed: None,
        waiting: Vec::new(),
    }));
    (Simulated(Arc::clone(&wire)), Client(wire))
}

fn look(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    fn change(&self, change: impl FnOnce(&mut Wire)) {
        let mut wire = look(&self.0);
        change(&mut wire);
        wire.waiting.drain(..).for_each(Waker::wake);
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.change(|wire| wire.queue.extend(bytes));
    }

    pub(crate) fn half_close(&self) {
        self.change(|wire| wire.client = Side::HalfClosed);
    }

    /// Closes: the server reads the end, and cannot write.
    pub(crate) fn vanish(&self) {
        self.change(|wire| wire.client = Side::Gone);
    }

    /// Closes with bytes unread: the server's next read fails.
    pub(crate) fn reset(&self) {
        self.change(|wire| {
            wire.queue.clear();
            wire.client = Side::Reset;
        });
    }

    /// Takes so many bytes more, and no further until told.
    pub(crate) fn take_at_most(&self, room: usize) {
        self.change(|wire| wire.room = room);
    }

    pub(crate) fn received(&self) -> Vec<u8> {
        look(&self.0).received.clone()
    }

    /// What lies in the server's receive queue.
    pub(crate) fn unread(&self) -> usize {
        look(&self.0).queue.len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        look(&self.0).closed.is_some()
    }

    #[cfg_attr(fuzzing, allow(dead_code))]
    pub(crate) fn was_half_closed_first(&self) -> bool {
        look(&self.0).half_closed.is_some()
    }

    /// When a client that reads to the end would have come to it, since it connected.
    pub(crate) fn heard_the_end_after(&self) -> Option<Duration> {
        let wire = look(&self.0);
        wire.half_closed.or(wire.closed).map(|end| end - wire.connected)
    }
}

impl Stream for Simulated {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut wire = look(&self.0);
        match wire.client {
            Side::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Side::Open if wire.queue.is_empty() => {
                wire.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            _ => {}
        }
        let count = buffer.len().min(wire.queue.len());
        buffer[..count].copy_from_slice(&wire.queue.make_contiguous()[..count]);
        wire.queue.drain(..count);
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = look(&self.0);
        assert!(wire.half_closed.is_none(), "written after the half-close");
        if matches!(wire.client, Side::Gone | Side::Reset) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(wire.room);
        if count == 0 {
            wire.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        wire.room -= count;
        wire.received.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn half_close(&mut self) -> io::Result<()> {
        look(&self.0).half_closed = Some(Instant::now());
        Ok(())
    }

    fn has_unread(&self) -> bool {
        !look(&self.0).queue.is_empty()
    }

    fn is_hung_up(&self) -> bool {
        matches!(look(&self.0).client, Side::Gone | Side::Reset)
    }

    fn peer(&self) -> Option<Peer> {
        None
    }

    fn caller(&self) -> Caller {
        self.peer().map_or(Caller::Unknown, Caller::Known)
    }

    fn close(self) -> usize {
        std::mem::take(&mut look(&self.0).queue).len()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        look(&self.0).closed = Some(Instant::now());
    }
}
