//! How a connection is spoken: pure bytes, no socket, no clock, no runtime. This is the list.
//!
//! A connection asks its wire three things. *Where does a request end?* [`Wire::decode`] gets all
//! bytes that came and are not done with, and remembers how far it has looked, so that the work is
//! linear however the bytes were cut. *How does a reply look?* [`Wire::head`], then [`Wire::piece`]
//! for the whole body or for each piece, then [`Wire::tail`]. *What is a client told if it gets no
//! answer?* [`Wire::refusal`]. One exchange at a time: after a request was decoded, its reply is
//! said before the next call of `decode`.
//!
//! What goes beyond that, and why: `decode` knows the longest request, because HTTP and Goridge state
//! a length long before it has come, and the client is told at once. `piece` sees the bytes and says
//! how many of them go out, because a reply to HEAD has none, a line must not hold its delimiter,
//! and a Goridge frame states its length first; it fails if the wire cannot say them. `parts` takes
//! the body along, because the chunks of a request have to be joined. [`Wire::last`] tells the wire
//! that the connection ends after this reply: HTTP says so to the client. A [`Violation`] says how
//! much of the input it took, because a bad request does not always end the connection.

mod decoded;
pub(crate) mod goridge;
pub(crate) mod http;
pub(crate) mod lines;
pub(crate) mod oneshot;
mod refusal;

pub(crate) use crate::parts::{ReplyHead, RequestParts};
pub(crate) use decoded::{Decoded, Patience, Seen, Violation};
pub(crate) use goridge::Goridge;
pub(crate) use http::Http;
pub(crate) use lines::Lines;
pub(crate) use oneshot::{OneShot, Until};
pub(crate) use refusal::{Kind, Refusal, Unspeakable};

/// A protocol in the midst of a connection. The configured one is cloned for each connection, and
/// an idle connection keeps it: what only a request needs is boxed.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    OneShot(OneShot),
    Lines(Lines),
    Http(Http),
    Goridge(Goridge),
}

impl Wire {
    /// `input` is all that came and is not done with; it only grows until a request was found.
    /// `seen` is what the last read showed. `most` is the longest body of a request, in bytes.
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        seen: Seen,
        most: usize,
    ) -> Result<Decoded, Violation> {
        match self {
            Self::OneShot(wire) => wire.decode(input, seen, most),
            Self::Lines(wire) => wire.decode(input, seen, most),
            Self::Http(wire) => wire.decode(input, seen, most),
            Self::Goridge(wire) => wire.decode(input, seen, most),
        }
    }

    /// What the request just decoded had besides its body. `body` is the body as it was cut out of the
    /// input; what frames it inside is removed.
    pub(crate) fn parts(&mut self, body: &mut Vec<u8>) -> Option<RequestParts> {
        match self {
            Self::OneShot(_) | Self::Lines(_) => None,
            Self::Http(wire) => wire.parts(body),
            Self::Goridge(wire) => wire.parts(),
        }
    }

    /// Bytes for a client that waits for them before it goes on with its request. Said once.
    pub(crate) fn interim(&mut self) -> Option<&'static [u8]> {
        match self {
            Self::OneShot(_) | Self::Lines(_) | Self::Goridge(_) => None,
            Self::Http(wire) => wire.interim(),
        }
    }

    /// Whether a request has begun. If not, the connection is idle: no deadline of a request runs.
    pub(crate) fn in_request(&self, input: &[u8]) -> bool {
        match self {
            Self::OneShot(_) => true,
            Self::Lines(_) | Self::Goridge(_) => !input.is_empty(),
            Self::Http(wire) => wire.in_request(input),
        }
    }

    /// The connection ends after the next reply or refusal.
    pub(crate) fn last(&mut self) {
        match self {
            Self::OneShot(_) => {}
            Self::Lines(wire) => wire.last(),
            Self::Http(wire) => wire.last(),
            Self::Goridge(wire) => wire.last(),
        }
    }

    /// What stands before a reply of so many bytes; `None`: pieces follow, as many as there are.
    pub(crate) fn head(
        &mut self,
        head: ReplyHead<'_>,
        length: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unspeakable> {
        match self {
            Self::OneShot(_) => {}
            Self::Lines(wire) => wire.head(),
            Self::Http(wire) => wire.head(head, length, out)?,
            Self::Goridge(wire) => wire.head(length, out)?,
        }
        Ok(())
    }

    /// What stands before this piece of a reply, or before all of it. Returns how many of its bytes go
    /// out after that: the first so many.
    pub(crate) fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<usize, Unspeakable> {
        match self {
            Self::OneShot(_) => Ok(piece.len()),
            Self::Lines(wire) => wire.piece(piece),
            Self::Http(wire) => Ok(wire.piece(piece, out)),
            Self::Goridge(wire) => wire.piece(piece),
        }
    }

    /// What stands after a reply.
    pub(crate) fn tail(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::OneShot(_) => {}
            Self::Lines(wire) => wire.tail(out),
            Self::Http(wire) => wire.tail(out),
            Self::Goridge(wire) => wire.tail(out),
        }
    }

    /// All that a client is told that gets no answer.
    pub(crate) fn refusal(&mut self, refusal: Refusal<'_>, out: &mut Vec<u8>) {
        self.refused(refusal.kind);
        match self {
            Self::OneShot(_) => out.extend_from_slice(&oneshot::error_line(refusal.reason)),
            Self::Lines(wire) => wire.refusal(refusal, out),
            Self::Http(wire) => wire.refusal(refusal, out),
            Self::Goridge(wire) => wire.refusal(refusal, out),
        }
    }

    /// The request gets no answer, and the client is told so by a reply of the service's own (`head`,
    /// `piece`, `tail`) in place of [`Wire::refusal`].
    pub(crate) fn refused(&mut self, kind: Kind) {
        if !kind.leaves_the_next() {
            self.last();
        }
        if let Self::Goridge(wire) = self {
            wire.refused();
        }
    }

    /// Whether the close alone tells the client that its reply is whole.
    pub(crate) fn ends_by_close(&self) -> bool {
        matches!(self, Self::OneShot(_))
    }

    /// Whether a pause may have been taken for the end of the request.
    pub(crate) fn ends_by_pause(&self) -> bool {
        matches!(self, Self::OneShot(wire) if wire.until() == Until::Dry)
    }

    /// Whether only a half-close ends a request.
    pub(crate) fn needs_half_close(&self) -> bool {
        matches!(self, Self::OneShot(wire) if wire.until() == Until::HalfClose)
    }

    /// Whether a reply can say that the connection ends after it.
    pub(crate) fn announces_end(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// What ends a request, for a client whose request has no end.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::OneShot(wire) => wire.advice(),
            Self::Lines(_) => "end it with its delimiter",
            Self::Http(_) => "send the whole head, and as many bytes as it says",
            Self::Goridge(_) => "send as many bytes as the frame says",
        }
    }

    /// How the control socket tells where a request ends.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::OneShot(wire) => match wire.until() {
                Until::Dry => "until dry",
                Until::Newline => "until newline",
                Until::HalfClose => "until half-close",
            },
            Self::Lines(_) => "wire lines",
            Self::Http(_) => "wire http",
            Self::Goridge(_) => "wire goridge",
        }
    }

    /// Whether another request may follow on the same connection.
    pub(crate) fn stays_open(&self) -> bool {
        match self {
            Self::OneShot(_) => false,
            Self::Lines(wire) => wire.stays_open(),
            Self::Http(wire) => wire.stays_open(),
            Self::Goridge(wire) => wire.stays_open(),
        }
    }
}

#[cfg(test)]
mod tests;
