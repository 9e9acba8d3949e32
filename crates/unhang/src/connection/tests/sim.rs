//! A stream without a kernel: the server's end is a [`Stream`], the client's end does what a test
//! says.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::handler::Peer;
use crate::stream::Stream;

/// The server's end.
pub(super) struct Simulated(Arc<Mutex<Wire>>);

/// The client's end.
#[derive(Clone)]
pub(super) struct Client(Arc<Mutex<Wire>>);

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

pub(super) fn pair() -> (Simulated, Client) {
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

impl Client {
    fn change(&self, change: impl FnOnce(&mut Wire)) {
        let mut wire = self.0.lock().unwrap();
        change(&mut wire);
        wire.waiting.drain(..).for_each(Waker::wake);
    }

    fn look(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        self.change(|wire| wire.queue.extend(bytes));
    }

    pub(super) fn half_close(&self) {
        self.change(|wire| wire.client = Side::HalfClosed);
    }

    /// Closes: the server reads the end, and cannot write.
    pub(super) fn vanish(&self) {
        self.change(|wire| wire.client = Side::Gone);
    }

    /// Closes with bytes unread: the server's next read fails.
    pub(super) fn reset(&self) {
        self.change(|wire| {
            wire.queue.clear();
            wire.client = Side::Reset;
        });
    }

    /// Takes so many bytes more, and no further until told.
    pub(super) fn take_at_most(&self, room: usize) {
        self.change(|wire| wire.room = room);
    }

    pub(super) fn received(&self) -> Vec<u8> {
        self.look().received.clone()
    }

    /// What lies in the server's receive queue.
    pub(super) fn unread(&self) -> usize {
        self.look().queue.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.look().closed.is_some()
    }

    pub(super) fn was_half_closed_first(&self) -> bool {
        self.look().half_closed.is_some()
    }

    /// When a client that reads to the end would have come to it, since it connected.
    pub(super) fn heard_the_end_after(&self) -> Option<Duration> {
        let wire = self.look();
        wire.half_closed.or(wire.closed).map(|end| end - wire.connected)
    }
}

impl Stream for Simulated {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock().unwrap();
        match wire.client {
            Side::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Side::Open if wire.queue.is_empty() => {
                wire.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            _ => {}
        }
        let count = buffer.len().min(wire.queue.len());
        for (to, from) in buffer.iter_mut().zip(wire.queue.drain(..count)) {
            *to = from;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.0.lock().unwrap();
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
        self.0.lock().unwrap().half_closed = Some(Instant::now());
        Ok(())
    }

    fn has_unread(&self) -> bool {
        !self.0.lock().unwrap().queue.is_empty()
    }

    fn is_hung_up(&self) -> bool {
        matches!(self.0.lock().unwrap().client, Side::Gone | Side::Reset)
    }

    fn peer(&self) -> Option<Peer> {
        None
    }

    fn close(self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().queue).len()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.0.lock().unwrap().closed = Some(Instant::now());
    }
}
