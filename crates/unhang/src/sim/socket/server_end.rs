//! The server's end of a socket: a [`Stream`] as strict as the kernel's, and less forgiving.

use std::io;
use std::os::fd::RawFd;

use crate::handler::{Caller, Peer};
use crate::peer::awake::Awake;
use crate::serve::stream::Stream;
use crate::sim::clock;

use super::{Side, Socket, Trap};

/// However it is dropped or closed, the socket notes it.
pub(crate) struct ServerEnd(pub(super) Socket);

impl ServerEnd {
    pub(crate) fn socket(&self) -> Socket {
        self.0.clone()
    }

    fn take(&mut self, buffer: &mut [u8], stays: bool) -> io::Result<usize> {
        let mut facts = self.0.facts();
        facts.enter()?;
        let count = buffer.len().min(facts.unread());
        let read = facts.read;
        buffer[..count].copy_from_slice(&facts.sent[read..][..count]);
        facts.seen = facts.seen.max(read + count);
        match (count, facts.client) {
            (0, _) if facts.input_shut => return Ok(0),
            (0, Side::Open) => return Err(io::ErrorKind::WouldBlock.into()),
            (0, Side::Reset) => return Err(io::ErrorKind::ConnectionReset.into()),
            (0, _) => return Ok(0),
            _ => {}
        }
        if !stays {
            facts.read += count;
            facts.wake();
        }
        Ok(count)
    }
}

impl Stream for ServerEnd {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.take(into, false)
    }

    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.take(into, true)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut facts = self.0.facts();
        facts.enter()?;
        if facts.half_closed.is_some() {
            facts.offences.push("written after the half-close");
        }
        if facts.is_left() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(facts.room - (facts.written.len() - facts.taken));
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        facts.written.extend_from_slice(&bytes[..count]);
        let written = facts.written.len();
        facts.writes.push((clock::now(), written));
        facts.wake();
        Ok(count)
    }

    fn half_close(&mut self) -> bool {
        let mut facts = self.0.facts();
        let failed = facts.enter().is_err();
        facts.half_closed.get_or_insert_with(clock::now);
        facts.wake();
        !failed
    }

    fn shut_input(&mut self) {
        let mut facts = self.0.facts();
        // What the client sends now, it sends just before.
        let _ = facts.enter();
        facts.input_shut = true;
        facts.shut_over = facts.unread();
        facts.wake();
    }

    fn unread(&self) -> usize {
        let mut facts = self.0.facts();
        let unread = facts.unread();
        // This happens right after the server looked.
        let _ = facts.enter();
        unread
    }

    fn input_ended(&self) -> bool {
        let mut facts = self.0.facts();
        let _ = facts.enter();
        facts.client != Side::Open
    }

    fn is_hung_up(&self) -> bool {
        let mut facts = self.0.facts();
        let _ = facts.enter();
        facts.is_left()
    }

    fn peer(&self) -> Option<Peer> {
        self.0.facts().peer
    }

    fn peer_awake(&self) -> Option<Awake> {
        None
    }

    fn caller(&self) -> Caller {
        self.peer().map_or(Caller::Unknown, Caller::Known)
    }

    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    fn has_passed(&self) -> bool {
        false
    }

    fn close_elsewhere(self) {}

    fn shut(&mut self) -> usize {
        let mut facts = self.0.facts();
        if matches!(facts.trap, Some((_, Trap::Ahead(_)))) {
            // What the client sends now, it sends just before.
            let _ = facts.enter();
        }
        let unread = facts.unread();
        facts.thrown_away += facts.sent.len() - facts.seen;
        facts.read += unread;
        facts.seen = facts.sent.len();
        facts.input_shut = true;
        facts.wake();
        unread
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        let mut facts = self.0.facts();
        if facts.closed.is_some() {
            return;
        }
        facts.reset = facts.unread() > 0 && !facts.is_left();
        facts.close();
    }
}
