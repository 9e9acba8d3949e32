//! How a client speaks: what it sends for a message, and what a reply means.

use std::borrow::Cow;
use std::sync::Arc;

use super::frame::{FrameReader, GoridgeCodec, delimited, goridge_call, http_request};
use crate::wire::lines::Delimiter;

/// How a client speaks. The server must speak the same: see `unhang serve --wire`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientWire {
    /// A connection for each call: the message as it is, and a reply that ends as
    /// [`ReplyEnds`](super::ReplyEnds) says. The default: every server of a Unix socket speaks something
    /// like it.
    #[default]
    OneShot,
    /// Messages that end with a delimiter, on a connection that is kept for the next call. It is added to
    /// the message if it does not end with one.
    Lines(Delimiter),
    /// HTTP/1.1, on a connection that is kept for the next call: the message is the body of `POST /`, and
    /// the reply is the body of the response. A status from 400 on is a
    /// [`Refused`](crate::ErrorKind::Refused).
    Http,
    /// Goridge's RPC, on a connection that is kept for the next call: the message is the body of a call of
    /// `method`, as `Service.Method`, and has to be encoded as `codec` says. An error of the server is a
    /// [`Refused`](crate::ErrorKind::Refused).
    Goridge {
        /// What is called, 1 to 4096 bytes.
        method: Arc<str>,
        /// What the message and the reply are encoded in.
        codec: GoridgeCodec,
    },
}

impl ClientWire {
    /// What is sent for a message, or what is wrong with it.
    pub(super) fn request<'a>(&self, message: &'a [u8]) -> Result<Cow<'a, [u8]>, &'static str> {
        match self {
            Self::OneShot => Ok(message.into()),
            Self::Lines(delimiter) => line(*delimiter, message),
            Self::Http => Ok(http_request(message).into()),
            Self::Goridge { method, codec } => Ok(goridge_call(method, *codec, 1, message)?.into()),
        }
    }

    /// What finds the end of a reply; `None` if the caller says where it is.
    pub(super) fn reader(&self) -> Option<FrameReader> {
        match self {
            Self::OneShot => None,
            Self::Lines(delimiter) => Some(FrameReader::lines(delimiter.byte())),
            Self::Http => Some(FrameReader::http()),
            Self::Goridge { method, .. } => Some(FrameReader::goridge(Arc::clone(method))),
        }
    }

    /// What ends a reply, for people.
    pub(super) fn end(&self) -> &'static str {
        match self {
            Self::OneShot => "close",
            Self::Lines(Delimiter::Newline) => "newline",
            Self::Lines(Delimiter::Nul) => "NUL byte",
            Self::Http => "end of the HTTP response",
            Self::Goridge { .. } => "end of the Goridge frame",
        }
    }
}

fn line(delimiter: Delimiter, message: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    let line = delimited(message, delimiter.byte());
    line.ok_or(match delimiter {
        Delimiter::Newline => {
            "expected a message of one line, got a newline within it: it would be two messages"
        }
        Delimiter::Nul => {
            "expected a message without NUL bytes, got one within it: it would be two messages"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gets_its_end_once_and_holds_none() {
        let (newline, nul) =
            (ClientWire::Lines(Delimiter::Newline), ClientWire::Lines(Delimiter::Nul));
        assert_eq!(*newline.request(b"a").unwrap(), *b"a\n");
        assert_eq!(*newline.request(b"a\n").unwrap(), *b"a\n");
        assert_eq!(*newline.request(b"").unwrap(), *b"\n");
        assert_eq!(*nul.request(b"a\nb").unwrap(), *b"a\nb\0");
        assert!(newline.request(b"a\nb").unwrap_err().contains("one line"));
        assert!(nul.request(b"a\0b\0").unwrap_err().contains("NUL"));
    }
}
