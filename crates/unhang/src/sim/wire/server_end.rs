//! The server's end of a wire: a [`Stream`] as strict as the kernel's, and less forgiving.

use std::io;
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::handler::{Caller, Peer};
use crate::serve::stream::Stream;

use super::{Side, Wire};

/// Whatever it is dropped or closed with, the wire notes it.
pub(in crate::sim) struct ServerEnd(pub(super) Wire);

impl Stream for ServerEnd {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut facts = self.0.facts();
        facts.enter()?;
        let count = buffer.len().min(facts.unread());
        buffer[..count].copy_from_slice(&facts.sent[facts.read..][..count]);
        facts.read += count;
        match (count, facts.client) {
            (0, Side::Open) => {
                facts.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            (0, Side::Reset) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            (0, _) => {}
            _ => facts.wake(),
        }
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut facts = self.0.facts();
        facts.enter()?;
        if facts.half_closed.is_some() {
            facts.offences.push("written after the half-close");
        }
        if facts.is_left() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(facts.room - (facts.written.len() - facts.taken));
        if count == 0 {
            facts.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        facts.written.extend_from_slice(&bytes[..count]);
        facts.first_written.get_or_insert_with(Instant::now);
        facts.wake();
        Poll::Ready(Ok(count))
    }

    fn half_close(&mut self) -> io::Result<()> {
        let mut facts = self.0.facts();
        facts.enter()?;
        facts.half_closed = Some(Instant::now());
        facts.wake();
        Ok(())
    }

    fn has_unread(&self) -> bool {
        let mut facts = self.0.facts();
        let unread = facts.unread() > 0;
        // What happens now, happens right after it looked.
        let _ = facts.enter();
        unread
    }

    fn is_hung_up(&self) -> bool {
        let mut facts = self.0.facts();
        let _ = facts.enter();
        facts.is_left()
    }

    fn peer(&self) -> Option<Peer> {
        self.0.facts().peer
    }

    fn caller(&self) -> Caller {
        self.peer().map_or(Caller::Unknown, Caller::Known)
    }

    fn close(self) -> usize {
        let mut facts = self.0.facts();
        let unread = facts.unread();
        facts.read += unread;
        facts.thrown_away = unread;
        facts.close();
        unread
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        let mut facts = self.0.facts();
        if facts.closed.is_some() {
            return;
        }
        if facts.unread() > 0 && !facts.is_left() {
            facts.offences.push("closed over unread bytes: the client gets a reset for its end");
        }
        facts.close();
    }
}
