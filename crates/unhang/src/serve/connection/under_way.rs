//! What a connection needs only while an exchange is under way. An idle connection has none of it, and so is
//! small.

use std::cell::Cell;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::outgoing::Outgoing;
use crate::handler::Held;
use crate::peer::awake::Awake;
use crate::serve::apart::Apart;
use crate::serve::bounds::{Bounds, Share};
use crate::serve::system::Abort;

/// The request, its handler and the reply.
#[derive(Default)]
pub(super) struct UnderWay {
    /// Bytes that came; those of the requests that were taken out of it are before `taken`.
    input: Vec<u8>,
    taken: usize,
    /// So many bytes at the end of `input` were only looked at: they still lie in the receive queue, so
    /// that a close would reset the client. That is how a cut reply is told.
    pub(super) unread: usize,
    pub(super) share: Share,
    /// When to look again before the stage is late: a pause until then ends the request, or shows that the
    /// client still writes as it should read.
    pub(super) look: Option<Instant>,
    /// The threads of the client that did not sleep in the pause that is to end the request.
    pub(super) peer_awake: Option<Awake>,
    pub(super) bytes_in: usize,
    pub(super) bytes_out: usize,
    /// Of the exchange, once its handler was asked.
    #[cfg(feature = "tracing")]
    pub(super) id: Option<u64>,
    pub(super) asked: Option<Instant>,
    pub(super) handled: Option<Duration>,
    pub(super) handler: Option<Box<dyn Abort>>,
    /// The request's, which is the handler's to keep, if it goes on elsewhere.
    pub(super) held: Option<Weak<Held>>,
    pub(super) outgoing: Outgoing,
}

thread_local! {
    /// One that is over, for the next exchange: to find room for each anew is felt.
    static SPARE: Cell<Option<Box<UnderWay>>> = const { Cell::new(None) };
}

impl UnderWay {
    /// For a new exchange.
    pub(super) fn begin() -> Box<Self> {
        SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default()
    }

    /// Its exchange is over.
    pub(super) fn end(mut self: Box<Self>) {
        // One by one: to put a whole new one in its place took as long as to find room for it.
        self.go_on();
        self.outgoing.empty();
        (self.unread, self.bytes_in) = (0, 0);
        (self.look, self.peer_awake) = (None, None);
        self.share = Share::default();
        if !self.input.is_empty() {
            self.forget_input();
        }
        // A thread that ends has no next exchange.
        let _ = SPARE.try_with(|spare| spare.set(Some(self)));
    }

    /// The exchange is over, and bytes of the next one are there.
    pub(super) fn go_on(&mut self) {
        (self.bytes_in, self.bytes_out) = (self.input().len(), 0);
        (self.asked, self.handled, self.held) = (None, None, None);
        #[cfg(feature = "tracing")]
        {
            self.id = None;
        }
        self.forget_reply();
    }

    /// Bytes that came and are not done with.
    pub(super) fn input(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    pub(super) fn put_in(&mut self, bytes: &[u8]) {
        self.bytes_in += bytes.len();
        self.peer_awake = None;
        if self.taken > 0 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        if self.input.is_empty() {
            // Most requests come at once, and need no room to grow.
            self.input = bytes.to_vec();
        } else {
            self.input.extend_from_slice(bytes);
        }
    }

    /// Counts the input in the bounds of all requests. False if that is too much.
    pub(super) fn is_within(&mut self, bounds: &Arc<Apart<Bounds>>) -> bool {
        self.share.grow_to(self.input.len() - self.taken, bounds)
    }

    /// The body of a request, which takes the first `used` bytes of the input.
    pub(super) fn take_out(&mut self, body: Range<usize>, used: usize) -> Vec<u8> {
        let follows = self.input.len() - self.taken - used;
        if self.taken == 0 && follows <= body.len() {
            let rest = self.input.split_off(used);
            let mut bytes = std::mem::replace(&mut self.input, rest);
            bytes.truncate(body.end);
            bytes.drain(..body.start);
            return bytes;
        }
        // To move all that follows to the front, for each of many requests, would cost more.
        let bytes = self.input()[body].to_vec();
        self.skip(used);
        bytes
    }

    /// Does without the first so many bytes of the input.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.taken += bytes.min(self.input.len() - self.taken);
        if self.taken == self.input.len() {
            self.forget_input();
        }
    }

    pub(super) fn forget_input(&mut self) {
        (self.input, self.taken) = (Vec::new(), 0);
    }

    /// How long the handler took.
    pub(super) fn answered(&mut self, now: Instant) -> Duration {
        self.handler = None;
        let handled =
            self.asked.map_or(Duration::ZERO, |asked| now.saturating_duration_since(asked));
        *self.handled.insert(handled)
    }

    /// What is not written yet of the exchange's own reply is not to be. Gathered replies are.
    pub(super) fn forget_reply(&mut self) {
        if let Some(handler) = self.handler.take() {
            handler.abort();
        }
        self.outgoing.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_out_one_by_one_however_much_follows() {
        let mut under_way = UnderWay::default();
        under_way.put_in(b"a\nbc\n\nlonger than what follows\nrest");
        assert_eq!(under_way.take_out(0..1, 2), b"a");
        assert_eq!(under_way.take_out(0..2, 3), b"bc");
        under_way.skip(1);
        assert_eq!(under_way.take_out(0..24, 25), b"longer than what follows");
        assert_eq!(under_way.input(), b"rest");
        under_way.put_in(b" of it\n");
        assert_eq!(under_way.take_out(1..10, 11), b"est of it");
        assert_eq!(under_way.input(), b"");
        under_way.put_in(b"0123x");
        assert_eq!(under_way.take_out(1..4, 4), b"123");
        under_way.skip(9);
        assert_eq!((under_way.input(), under_way.taken), (&b""[..], 0));
    }
}
