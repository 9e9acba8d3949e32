//! Where one of several replies on a connection ends: pure bytes, as they come.

mod goridge;
mod http;

use std::borrow::Cow;
use std::sync::Arc;

use goridge::GoridgeReader;
pub use goridge::{GoridgeCodec, goridge_call};
use http::HttpReader;
use memchr::memchr;

/// Reads one reply after another.
#[derive(Clone, Debug)]
pub struct FrameReader(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Lines(u8),
    Http(Box<HttpReader>),
    Goridge(Box<GoridgeReader>),
}

/// What was taken of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// So many bytes. The rest belongs to the next reply.
    pub used: usize,
    /// Whether the reply ends with them. The next input begins another one.
    pub is_whole: bool,
}

/// A message as a request of HTTP/1.1.
pub fn http_request(message: &[u8]) -> Vec<u8> {
    let length = message.len();
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), message].concat()
}

/// A message with its delimiter once, or none if it would be two messages.
pub fn delimited(message: &[u8], delimiter: u8) -> Option<Cow<'_, [u8]>> {
    match message.strip_suffix(&[delimiter]) {
        Some(text) if !text.contains(&delimiter) => Some(message.into()),
        None if !message.contains(&delimiter) => Some([message, &[delimiter]].concat().into()),
        _ => None,
    }
}

impl FrameReader {
    /// Each ends with this byte, which stays part of it.
    pub fn lines(delimiter: u8) -> Self {
        Self(Kind::Lines(delimiter))
    }

    /// Responses of HTTP/1.1 to requests that are no HEAD: RFC 9112.
    pub fn http() -> Self {
        Self(Kind::Http(Box::default()))
    }

    /// Replies to calls of this method, whose sequence numbers are 1, 2 and so on.
    pub fn goridge(method: Arc<str>) -> Self {
        Self(Kind::Goridge(Box::new(GoridgeReader::new(method))))
    }

    /// Takes what belongs to the reply under way, and gives what of that is its body.
    ///
    /// # Errors
    /// What was expected and what came: then nobody can say where the next reply begins.
    pub fn take(
        &mut self,
        input: &[u8],
        body: &mut dyn FnMut(&[u8]),
    ) -> Result<Taken, &'static str> {
        match &mut self.0 {
            Kind::Lines(delimiter) => {
                let end = memchr(*delimiter, input);
                let used = end.map_or(input.len(), |at| at + 1);
                body(&input[..used]);
                Ok(Taken { used, is_whole: end.is_some() })
            }
            Kind::Http(reader) => reader.take(input, body),
            Kind::Goridge(reader) => reader.take(input, body),
        }
    }

    /// Whether the close makes the reply under way whole.
    pub fn is_whole_at_close(&self) -> bool {
        match &self.0 {
            Kind::Lines(_) | Kind::Goridge(_) => false,
            Kind::Http(reader) => reader.is_until_close(),
        }
    }

    /// Whether another exchange may follow on the connection after the reply that is whole.
    pub fn stays_open(&self) -> bool {
        match &self.0 {
            Kind::Lines(_) | Kind::Goridge(_) => true,
            Kind::Http(reader) => reader.stays_open(),
        }
    }

    /// The status of the reply, if it has one.
    pub fn status(&self) -> Option<u16> {
        match &self.0 {
            Kind::Lines(_) | Kind::Goridge(_) => None,
            Kind::Http(reader) => Some(reader.status()),
        }
    }

    /// Whether the reply says that there is no answer, beside its body.
    pub fn is_refusal(&self) -> bool {
        match &self.0 {
            Kind::Lines(_) => false,
            Kind::Http(reader) => reader.status() >= 400,
            Kind::Goridge(reader) => reader.is_error(),
        }
    }

    /// How many bytes of the body are still to come, as far as the reply has said.
    pub(super) fn left(&self) -> u64 {
        match &self.0 {
            Kind::Lines(_) => 0,
            Kind::Http(reader) => reader.left(),
            Kind::Goridge(reader) => reader.left(),
        }
    }

    /// What came in place of a reply that this wire could have.
    pub(super) fn no_reply(&self) -> &[u8] {
        match &self.0 {
            Kind::Lines(_) | Kind::Goridge(_) => &[],
            Kind::Http(reader) => reader.no_head(),
        }
    }

    /// Whether a body can say nothing of whether it is an answer.
    pub(super) fn is_goridge(&self) -> bool {
        matches!(self.0, Kind::Goridge(_))
    }
}
