//! HTTP/1.1, as much of it as a service behind a Unix socket needs (RFC 9112).
//!
//! Requests with a Content-Length or in chunks, one after another on one connection; replies with a
//! length, or in chunks if pieces follow. No routing, no compression, no TLS, no upgrade. Anything
//! that two readers could read in two ways is refused, and then the connection ends, as nobody can
//! say where the next request would begin.

mod chunks;
mod head;
mod reply;

use chunks::Chunks;
use head::{Framing, Head, Scan};
use reply::Body;

use super::decoded::{Decoded, Seen, Violation};
use super::refusal::{Kind, Refusal, Unspeakable, plain};
use crate::parts::{ReplyHead, RequestParts};

/// HTTP/1.1, as a wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Http {
    /// Nothing is asked after this reply.
    last: bool,
    /// From the first byte of a request until its reply is said.
    exchange: Option<Box<Exchange>>,
}

#[derive(Clone, Debug, Default)]
struct Exchange {
    scan: Scan,
    request: Option<Request>,
    body: Body,
}

/// A request whose head is whole.
#[derive(Clone, Debug)]
struct Request {
    head: Head,
    chunks: Option<Chunks>,
    waits_for_continue: bool,
}

impl Http {
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        seen: Seen,
        most: usize,
    ) -> Result<Decoded, Violation> {
        if input.is_empty() && self.exchange.is_none() {
            return Ok(if seen == Seen::End { Decoded::Over } else { Decoded::More });
        }
        let exchange = self.exchange.get_or_insert_default();
        let decoded = exchange.decode(input, most)?;
        if let Some(request) = &exchange.request {
            self.last |= !request.head.keeps_alive;
        }
        match decoded {
            Decoded::More if seen == Seen::End => exchange.cut(input),
            decoded => Ok(decoded),
        }
    }

    pub(super) fn parts(&mut self, body: &mut Vec<u8>) -> Option<RequestParts> {
        let request = self.exchange.as_mut()?.request.as_mut()?;
        if request.chunks.take().is_some() {
            chunks::join(body);
        }
        request.head.parts.take()
    }

    /// Only if the body has to come yet: RFC 9110, section 10.1.1.
    pub(super) fn interim(&mut self) -> Option<&'static [u8]> {
        let request = self.exchange.as_mut()?.request.as_mut()?;
        std::mem::take(&mut request.waits_for_continue)
            .then_some(b"HTTP/1.1 100 Continue\r\n\r\n".as_slice())
    }

    /// Empty lines before a request are none: RFC 9112, section 2.2.
    pub(super) fn in_request(&self, input: &[u8]) -> bool {
        let blank = self.exchange.as_ref().map_or(0, |exchange| exchange.scan.start());
        input.len() > blank
    }

    pub(super) fn last(&mut self) {
        self.last = true;
    }

    pub(super) fn stays_open(&self) -> bool {
        !self.last
    }

    pub(super) fn head(
        &mut self,
        head: ReplyHead<'_>,
        length: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unspeakable> {
        self.last |= reply::check(head)?;
        let exchange = self.exchange.get_or_insert_default();
        let asked = exchange.request.as_ref().map(|request| &request.head);
        exchange.body = Body::of(asked, head.status, length);
        // Without a length and without chunks, the close is the end.
        self.last |= exchange.body == Body::UntilClose;
        reply::head(head, exchange.body, length, self.last, out);
        Ok(())
    }

    pub(super) fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) -> usize {
        self.exchange.as_mut().map_or(0, |exchange| exchange.body.piece(piece, out))
    }

    pub(super) fn tail(&mut self, out: &mut Vec<u8>) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.body.tail(out);
        }
    }

    /// `out` holds nothing any more of a reply that could not be said.
    pub(super) fn refusal(&mut self, refusal: Refusal<'_>, out: &mut Vec<u8>) {
        let (status, retry) = reply::status(refusal.kind);
        let text = ("Content-Type".into(), "text/plain; charset=utf-8".into());
        let headers = [text, ("Retry-After".into(), "1".into())];
        let headers = &headers[..if retry { 2 } else { 1 }];
        let reason = plain(refusal.reason) + "\n";
        // Cannot fail: these headers can be said.
        if self.head(ReplyHead { status, headers }, Some(reason.len()), out).is_ok() {
            let length = self.piece(reason.as_bytes(), out);
            out.extend_from_slice(&reason.as_bytes()[..length]);
        }
        self.tail(out);
    }
}

impl Exchange {
    fn decode(&mut self, input: &[u8], most: usize) -> Result<Decoded, Violation> {
        let request = match &mut self.request {
            Some(request) => request,
            none => {
                let Some(head) = self.scan.head(input)? else { return Ok(Decoded::More) };
                let begun = input.len() > head.end;
                let waits_for_continue = head.expects_continue && !begun;
                let chunked = head.framing == Framing::Chunked;
                let chunks = chunked.then(|| Chunks::new(head.end));
                none.insert(Request { head, chunks, waits_for_continue })
            }
        };
        let begin = request.head.end;
        let end = match (&request.head.framing, &mut request.chunks) {
            (Framing::Length(length), _) => {
                let Some(length) = usize::try_from(*length).ok().filter(|length| *length <= most)
                else {
                    return Err(Violation::too_long(most, input.len()));
                };
                (input.len() - begin >= length).then(|| begin + length)
            }
            (Framing::Chunked, Some(chunks)) => chunks.end(input, most)?,
            (Framing::Chunked, None) => None,
        };
        let Some(end) = end else { return Ok(Decoded::More) };
        request.waits_for_continue = false;
        Ok(Decoded::Request { body: begin..end, used: end })
    }

    /// The client has half-closed before its request was whole.
    fn cut(&self, input: &[u8]) -> Result<Decoded, Violation> {
        let got = match &self.request {
            None if input.len() == self.scan.start() => return Ok(Decoded::Over),
            None => format!("its head, got {} bytes", input.len()),
            Some(request) => match request.head.framing {
                Framing::Length(length) => {
                    format!("{length} bytes of body, got {}", input.len() - request.head.end)
                }
                Framing::Chunked => "its last chunk, got only others".into(),
            },
        };
        let reason = format!("the request was cut: expected {got} and the end");
        Err(Violation { kind: Kind::Malformed, reason, used: input.len() })
    }
}

#[cfg(test)]
mod tests;
