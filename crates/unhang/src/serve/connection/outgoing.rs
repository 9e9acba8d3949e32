//! A reply on its way.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;

use crate::event::{Cause, Ended, Exchange};
#[cfg(feature = "forward")]
use crate::handler::Piped;
use crate::handler::{Body, Piece, Reply};
use crate::serve::stream::Stream;
use crate::wire::{Unspeakable, Wire};

/// So many writes in a row before other connections have their turn: a fast reader may take each at once.
const WRITES: u32 = 16;

/// A body up to this many bytes is copied behind its head, so that both go out in one write. A longer one
/// costs more to copy than to write by itself.
pub(super) const TOGETHER: usize = 16 * 1024;

/// So many bytes of room are kept for the next reply. More would add up if many clients began a request and left
/// it at that.
const ROOM: usize = 4 * 1024;

/// A reply on its way, and what it will have been.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
pub(super) struct Outgoing {
    /// What goes out first: earlier replies, and what stands before the body.
    pub(super) head: Vec<u8>,
    pub(super) body: Bytes,
    /// More of the body, where the wire frames nothing.
    #[cfg(feature = "forward")]
    pub(super) piped: Option<Piped>,
    pub(super) tail: Vec<u8>,
    /// How much of the first of these that is not empty is written.
    pub(super) sent: usize,
    /// A reply whose body comes in pieces.
    pub(super) streamed: Option<Reply>,
    pub(super) head_is_said: bool,
    pub(super) waits_for_piece: bool,
    /// Bytes of this reply are written.
    pub(super) begun: bool,
    /// The client did not take what there is. Another reply beside it would give the client another
    /// deadline to take it.
    pub(super) is_stuck: bool,
    /// Why this reply cannot be made whole.
    pub(super) broken: Option<Cause>,
    /// How the connection ends, once each exchange was told whose reply is lost with it: nothing more is
    /// written.
    pub(super) over: Option<Ended>,
    /// So many bytes of `head` are of earlier replies.
    pub(super) earlier: usize,
    /// So many of those replies there are.
    pub(super) together: usize,
    /// Exchanges whose replies these are, as far as they are to be told.
    pub(super) gathered: VecDeque<Exchange>,
    /// Only the gathered replies are to be written: the next request is not whole.
    pub(super) flush_only: bool,
    /// Why the client gets no answer, if so.
    pub(super) refused: Option<Cause>,
}

/// What a round of writes has come to.
pub(super) enum Flush {
    All,
    /// Others have their turn.
    Pause,
    Failed(io::Error),
}

impl Outgoing {
    /// For another connection.
    pub(super) fn empty(&mut self) {
        self.gathered.clear();
        (self.earlier, self.together, self.is_stuck) = (0, 0, false);
        self.forget();
    }

    pub(super) fn next_gathered(&mut self) -> Option<Exchange> {
        self.gathered.pop_front()
    }

    /// What is not written yet of the exchange's own reply is not to be. Gathered replies are.
    pub(super) fn forget(&mut self) {
        self.head.truncate(self.earlier);
        if self.head.is_empty() {
            self.sent = 0;
            if self.head.capacity() > ROOM {
                self.head = Vec::new();
            }
        }
        self.body = Bytes::new();
        self.tail.clear();
        self.streamed = None;
        #[cfg(feature = "forward")]
        {
            self.piped = None;
        }
        (self.waits_for_piece, self.head_is_said, self.begun) = (false, false, false);
        (self.broken, self.refused, self.over) = (None, None, None);
        self.flush_only = false;
    }

    /// A reply that is known whole.
    pub(super) fn whole(&mut self, reply: Reply, wire: &mut Wire) -> Result<(), Unspeakable> {
        let before = self.head.len();
        let said = self.say_whole(reply, wire);
        if said.is_err() {
            self.head.truncate(before);
            self.body = Bytes::new();
        }
        said
    }

    fn say_whole(&mut self, reply: Reply, wire: &mut Wire) -> Result<(), Unspeakable> {
        let length = reply.whole().map_or(0, <[u8]>::len);
        wire.head(reply.head(), Some(length), &mut self.head)?;
        match reply.body {
            Body::Owned(mut bytes) if self.head.is_empty() && wire.ends_by_close() => {
                let count = wire.piece(&bytes, &mut self.head)?;
                bytes.truncate(count);
                self.head = bytes;
            }
            Body::Owned(bytes) if bytes.len() <= TOGETHER => {
                let count = wire.piece(&bytes, &mut self.head)?;
                self.head.extend_from_slice(&bytes[..count]);
            }
            Body::Owned(bytes) => self.put(bytes.into(), wire)?,
            Body::Whole(bytes) => self.put(bytes, wire)?,
            Body::Pieces(_) => {}
        }
        wire.tail(if self.body.is_empty() { &mut self.head } else { &mut self.tail });
        Ok(())
    }

    pub(super) fn put(&mut self, mut bytes: Bytes, wire: &mut Wire) -> Result<(), Unspeakable> {
        let count = wire.piece(&bytes, &mut self.head)?;
        // A wire that keeps its connection may say more after the body: in one write with it.
        if count > TOGETHER || self.head.is_empty() && wire.ends_by_close() {
            // Not a slice of it: that would be allocated.
            bytes.truncate(count);
            self.body = bytes;
        } else {
            self.head.extend_from_slice(&bytes[..count]);
        }
        Ok(())
    }

    #[cfg(feature = "forward")]
    pub(super) fn put_piped(&mut self, piped: Piped, wire: &mut Wire) -> Result<(), Unspeakable> {
        if wire.ends_by_close() {
            self.piped = Some(piped);
            return Ok(());
        }
        let lost = |_| Unspeakable("bytes of the reply were lost in a pipe".to_owned());
        self.put(piped.into_bytes().map_err(lost)?, wire)
    }

    /// Moves some of what lies in a pipe to the client; nothing, if that is nothing.
    #[cfg(feature = "forward")]
    fn move_piped(&mut self, stream: &mut impl Stream) -> Option<io::Result<usize>> {
        let piped = self.piped.as_mut()?;
        match stream.move_from(piped.output(), piped.length()) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let bytes = self.piped.take()?.into_bytes();
                Some(bytes.map(|bytes| {
                    self.body = bytes;
                    0
                }))
            }
            Ok(count) => {
                piped.moved(count);
                self.begun = true;
                if piped.length() == 0 {
                    self.piped = None;
                }
                Some(Ok(count))
            }
            failed => Some(failed),
        }
    }

    #[cfg(not(feature = "forward"))]
    #[expect(clippy::unused_self, reason = "with the feature it has pipes")]
    fn move_piped(&mut self, _: &mut impl Stream) -> Option<io::Result<usize>> {
        None
    }

    /// The next piece; nothing, if its sender is gone without having finished the reply.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.pieces().map_or(Poll::Ready(None), |pieces| pieces.poll_recv(cx))
    }

    pub(super) fn pieces(&mut self) -> Option<&mut Receiver<Piece>> {
        match &mut self.streamed.as_mut()?.body {
            Body::Pieces(pieces) => Some(pieces),
            Body::Whole(_) | Body::Owned(_) => None,
        }
    }

    fn is_written(&self) -> bool {
        #[cfg(feature = "forward")]
        if self.piped.is_some() {
            return false;
        }
        self.head.is_empty() && self.body.is_empty() && self.tail.is_empty()
    }

    fn stuck(&mut self, error: io::Error) -> Flush {
        self.is_stuck = error.kind() == io::ErrorKind::WouldBlock;
        Flush::Failed(error)
    }

    pub(super) fn flush(&mut self, stream: &mut impl Stream) -> (usize, Flush) {
        let mut written = 0;
        for _ in 0..WRITES {
            let bytes = if !self.head.is_empty() {
                &self.head[..]
            } else if !self.body.is_empty() {
                &self.body[..]
            } else if let Some(moved) = self.move_piped(stream) {
                match moved {
                    Ok(count) => {
                        written += count;
                        continue;
                    }
                    Err(error) => return (written, self.stuck(error)),
                }
            } else if !self.tail.is_empty() {
                &self.tail[..]
            } else {
                self.is_stuck = false;
                return (written, Flush::All);
            };
            let length = bytes.len();
            match stream.write(&bytes[self.sent..]) {
                Ok(count) => {
                    written += count;
                    self.sent += count;
                    self.begun |= self.head.is_empty() || self.sent > self.earlier;
                }
                Err(error) => return (written, self.stuck(error)),
            }
            if self.sent == length {
                self.sent = 0;
                if !self.head.is_empty() {
                    self.head.clear();
                    self.earlier = 0;
                } else if !self.body.is_empty() {
                    self.body = Bytes::new();
                } else {
                    self.tail.clear();
                }
            }
        }
        (written, if self.is_written() { Flush::All } else { Flush::Pause })
    }
}
