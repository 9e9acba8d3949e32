//! One request, one reply, and so on: each ends at its delimiter, a newline or a NUL byte.
//!
//! The delimiter is the end and not a part of the message: a handler's reply may end with it or not,
//! the client gets it once. A reply that holds one in its middle would be read as two, and the second
//! as the answer to the next request; so it is never said.

mod jsonrpc;

use jsonrpc::Call;
use memchr::memchr;

use super::decoded::{Decoded, Seen, Violation};
use super::refusal::{Kind, Refusal, Unspeakable, plain};

/// What ends a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delimiter {
    /// A newline: what `fgets`, `nc` and every language's line reader speak.
    #[default]
    Newline,
    /// A NUL byte: what varlink speaks. The message may hold newlines.
    Nul,
}

/// How a client is told that it gets no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Errors {
    /// `ERR <reason>`.
    #[default]
    Text,
    /// An error object of JSON-RPC 2.0 with the id of the request. Requests that are no JSON do not
    /// reach the handler.
    JsonRpc,
}

/// Messages with a delimiter, as a wire.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    delimiter: Delimiter,
    errors: Errors,
    /// Nothing is asked after this reply.
    last: bool,
    reply: Reply,
    /// How far the delimiter was looked for already.
    scanned: usize,
    /// With [`Errors::JsonRpc`], what the request under way is.
    call: Option<Box<Call>>,
}

/// How far the reply under way has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Empty,
    Begun,
    /// It has ended with its delimiter, which is said by the tail.
    Delimited,
}

impl Delimiter {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Newline => b'\n',
            Self::Nul => 0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Newline => "newline",
            Self::Nul => "NUL byte",
        }
    }
}

impl Lines {
    pub(crate) fn new(delimiter: Delimiter, errors: Errors) -> Self {
        Self { delimiter, errors, last: false, reply: Reply::Empty, scanned: 0, call: None }
    }

    pub(super) fn decode(
        &mut self,
        input: &[u8],
        seen: Seen,
        most: usize,
    ) -> Result<Decoded, Violation> {
        let found = memchr(self.delimiter.byte(), &input[self.scanned..]);
        let length = found.map_or(input.len(), |at| self.scanned + at);
        if length > most {
            return Err(Violation::too_long(most, input.len()));
        }
        if found.is_none() {
            self.scanned = length;
            return self.unfinished(input, seen);
        }
        self.scanned = 0;
        let used = length + 1;
        if self.errors == Errors::JsonRpc {
            let call = Call::read(&input[..length]);
            let call = call.map_err(|reason| Violation { kind: Kind::NoJson, reason, used })?;
            self.call = Some(Box::new(call));
        }
        Ok(Decoded::Request { body: 0..length, used })
    }

    /// A part is never taken for the whole: a client that was killed in the middle of its line leaves
    /// the same bytes as one that forgot the delimiter.
    fn unfinished(&self, input: &[u8], seen: Seen) -> Result<Decoded, Violation> {
        match (seen, input.len()) {
            (Seen::End, 0) => Ok(Decoded::Over),
            (Seen::End, used) => {
                let delimiter = self.delimiter.name();
                let reason = format!("expected a {delimiter} after {used} bytes, got the end");
                Err(Violation { kind: Kind::Malformed, reason, used })
            }
            _ => Ok(Decoded::More),
        }
    }

    pub(super) fn last(&mut self) {
        self.last = true;
    }

    pub(super) fn stays_open(&self) -> bool {
        !self.last
    }

    pub(super) fn head(&mut self) {
        self.reply = Reply::Empty;
    }

    pub(super) fn piece(&mut self, piece: &[u8]) -> Result<usize, Unspeakable> {
        let Some(end) = piece.len().checked_sub(1) else { return Ok(0) };
        let delimiter = memchr(self.delimiter.byte(), piece);
        if self.reply == Reply::Delimited || delimiter.is_some_and(|at| at < end) {
            let delimiter = self.delimiter.name();
            return Err(Unspeakable(format!(
                "the reply holds a {delimiter} before its end, which the client would read as two replies"
            )));
        }
        self.reply = if delimiter.is_some() { Reply::Delimited } else { Reply::Begun };
        Ok(if delimiter.is_some() { end } else { piece.len() })
    }

    pub(super) fn tail(&mut self, out: &mut Vec<u8>) {
        let call = self.call.take();
        if self.reply == Reply::Empty && call.is_some_and(|call| call.is_notification()) {
            return;
        }
        out.push(self.delimiter.byte());
    }

    pub(super) fn refusal(&mut self, refusal: Refusal<'_>, out: &mut Vec<u8>) {
        let call = self.call.take();
        match self.errors {
            Errors::Text => {
                out.extend_from_slice(format!("ERR {}", plain(refusal.reason)).as_bytes());
            }
            // A client that has sent a notification reads nothing: it would take this for the answer
            // to its next call.
            Errors::JsonRpc if call.as_ref().is_some_and(|call| call.is_notification()) => return,
            Errors::JsonRpc => jsonrpc::error(call.as_deref(), refusal, out),
        }
        out.push(self.delimiter.byte());
    }
}

#[cfg(test)]
mod tests;
