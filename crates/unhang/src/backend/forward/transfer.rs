//! The bytes of one exchange: the request to the server behind, and what has come of its reply.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::{Shutdown, shutdown};
use tokio::time::Instant;

use super::broken::Broken;
use super::ends::{Found, ReplyEnds, Scan};
use super::link::{self, Link};
use super::writer::Close;
use super::{HalfClose, Shared};
use crate::Request;
use crate::backend::notice::EndedBy;
use crate::backend::prompt;
use crate::handler::{Pipe, Piped, WaitsFor};

/// How much of a reply is held back: nearly every reply is whole by then, so that a failure can still be
/// told.
pub(super) const HELD_BACK: usize = 64 * 1024;

/// As many bytes, as they are counted.
const LITTLE: u64 = link::LITTLE as u64;

/// The most that is moved at once: more than a Unix socket holds.
const MOVED: usize = 1 << 20;

pub(super) struct Transfer {
    shared: Arc<Shared>,
    pub(super) link: Link,
    pub(super) request: Request,
    sent: usize,
    pub(super) has_half_closed: bool,
    scan: Scan,
    /// What has come and was not passed on.
    pub(super) piece: Vec<u8>,
    /// For the rest of a long reply: while one is being written to the client, the other is filled.
    pipes: Option<[Arc<Pipe>; 2]>,
    /// What has come in the first of them and was not passed on.
    piped: usize,
    /// Bytes of the reply so far.
    pub(super) came: u64,
    /// The process that wrote the first of them, if that is known.
    writer: Option<u32>,
    /// When the last byte came, or the request began to be sent.
    pub(super) last: Instant,
}

/// What comes next.
pub(super) enum Next {
    Piece,
    /// The reply is whole.
    End(EndedBy),
    Failed(Broken),
    /// Nothing came, and the caller's time is up.
    Paused,
}

impl Next {
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::End(_) | Self::Failed(_))
    }
}

impl Transfer {
    pub(super) fn new(shared: Arc<Shared>, link: Link, request: Request) -> Self {
        if let Ok(fd) = u32::try_from(link.as_fd().as_raw_fd()) {
            request.telling().waits_for(WaitsFor::Descriptor(fd));
        }
        Self {
            link,
            sent: 0,
            has_half_closed: false,
            scan: Scan::new(shared.ends, request.bytes()),
            shared,
            request,
            piece: Vec::new(),
            pipes: None,
            piped: 0,
            came: 0,
            writer: None,
            last: Instant::now(),
        }
    }

    /// Has the runtime hear of the link.
    pub(super) fn watched(self) -> io::Result<Self> {
        Ok(Self { link: self.link.watched()?, ..self })
    }

    /// All that can be sent now.
    pub(super) fn send(&mut self) {
        let length = self.request.bytes().len();
        while self.sent < length {
            match self.link.write(&self.request.bytes()[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It reads no more of it: it may have answered all the same.
                Err(_) => self.sent = length,
            }
            if self.sent == length && self.shared.half_close == HalfClose::Always {
                self.half_close();
            }
        }
        if length == 0 && !self.has_half_closed && self.shared.half_close != HalfClose::Never {
            // An empty request is nothing but its end.
            self.half_close();
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.request.bytes().len()
    }

    /// Whether the server would be told that the request is whole, as soon as it is seen to wait for that.
    pub(super) fn may_half_close(&self) -> bool {
        self.shared.half_close == HalfClose::Auto && !self.has_half_closed
    }

    pub(super) fn half_close(&mut self) {
        self.has_half_closed = true;
        // A server that has closed needs it no more.
        let _ = shutdown(&self.link, Shutdown::Write);
    }

    /// All that is there without a wait; nothing, if that is nothing.
    pub(super) fn at_once(&mut self) -> Option<Next> {
        let mut came = None;
        loop {
            match self.read() {
                Some(Next::Piece) if self.piece.len() < HELD_BACK => came = Some(Next::Piece),
                Some(next) => return Some(next),
                None => return came,
            }
        }
    }

    /// Waits on this thread for what may end the reply, or for so long. Whether that has come.
    pub(super) fn await_end(&self, within: Duration) -> bool {
        let events = match self.scan {
            // The server's close. Bytes do not end the wait: with them, we would wake up twice for a reply.
            Scan::Nothing => PollFlags::RDHUP,
            _ => PollFlags::RDHUP | PollFlags::IN,
        };
        prompt::wait(&self.link, events, within)
    }

    /// What can be read now.
    pub(super) fn read(&mut self) -> Option<Next> {
        if let Some([pipe, _]) = &self.pipes {
            match self.link.move_to(pipe.input(), MOVED) {
                // It cannot be moved.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.pipes = None,
                moved => {
                    self.piped = *moved.as_ref().unwrap_or(&0);
                    return self.took(self.piece.len(), moved);
                }
            }
        }
        let before = self.piece.len();
        let read = match self.came {
            0 => self.link.read_first(&mut self.piece).map(|(read, writer)| {
                self.writer = writer;
                read
            }),
            // What follows is the end, for the most part.
            1..LITTLE => self.link.read_little(&mut self.piece),
            _ => {
                if self.piece.capacity() - before < 4096 {
                    self.piece.reserve(HELD_BACK);
                }
                self.link.read(&mut self.piece)
            }
        };
        self.took(before, read)
    }

    fn took(&mut self, before: usize, read: io::Result<usize>) -> Option<Next> {
        match read {
            Ok(0) => Some(self.closed()),
            Ok(read) => {
                self.came += read as u64;
                self.last = Instant::now();
                Some(match self.scan.take(&self.piece[before..]) {
                    Found::More => Next::Piece,
                    Found::End(at) => {
                        self.piece.truncate(before + at);
                        Next::End(EndedBy::Rule)
                    }
                    Found::Broken(_) if self.shared.ends == ReplyEnds::Auto => {
                        self.scan = Scan::Nothing;
                        Next::Piece
                    }
                    Found::Broken(why) => Next::Failed(Broken::Other(why)),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) if self.came == 0 => Some(Next::Failed(Broken::Nothing)),
            Err(_) => Some(Next::Failed(Broken::Half)),
        }
    }

    /// Whether nothing in the reply says that more of it is to come.
    pub(super) fn may_be_whole(&self) -> bool {
        self.scan.may_close()
    }

    fn closed(&self) -> Next {
        if self.came == 0 {
            return Next::Failed(Broken::Nothing);
        }
        if !self.may_be_whole() {
            return Next::Failed(Broken::Half);
        }
        match self.writer.map(|writer| self.shared.writers.close(writer, &self.link)) {
            Some(Close::Died(why)) => Next::Failed(Broken::Died(why)),
            Some(Close::Unseen) => {
                self.shared.tell_of_unseen_ends();
                Next::End(EndedBy::Close)
            }
            Some(Close::Meant) | None => Next::End(EndedBy::Close),
        }
    }

    /// From now on no byte is copied, if none has to be looked at.
    pub(super) fn take_pipes(&mut self) {
        let may = matches!(self.scan, Scan::Nothing) && self.came >= HELD_BACK as u64;
        if may && self.pipes.is_none() {
            let both = [Pipe::new(), Pipe::new()];
            if let [Ok(one), Ok(other)] = both {
                self.pipes = Some([one.into(), other.into()]);
            }
        }
    }

    /// What has come in a pipe. It must have left that pipe before the one after it is taken.
    pub(super) fn piped(&mut self) -> Option<Piped> {
        let pipes = self.pipes.as_mut().filter(|_| self.piped > 0)?;
        let piped = Piped::new(Arc::clone(&pipes[0]), std::mem::take(&mut self.piped));
        pipes.swap(0, 1);
        Some(piped)
    }

    /// What has come outside of the pipes.
    pub(super) fn take_piece(&mut self) -> Vec<u8> {
        let room = if self.pipes.is_some() { 0 } else { HELD_BACK };
        std::mem::replace(&mut self.piece, Vec::with_capacity(room))
    }
}
