//! The end of an exchange: the close, or the next request.

use std::time::Instant;

use super::{Connection, End, Move, Next, Stage, read};
use crate::event::{Ended, Exchange};
use crate::handler::Peer;
use crate::limits::READER_CHECK;
use crate::serve::config::{Config, later};
use crate::serve::stream::{Interest, Stream};

impl<S: Stream> Connection<S> {
    /// All is written. None if the connection goes on to something else.
    pub(super) fn replied(&mut self, config: &Config, now: Instant) -> Option<Next> {
        let outgoing = self.outgoing();
        // One step each, told or not: an observer must make no difference to a client.
        let were_gathered = std::mem::take(&mut outgoing.together) > 0;
        let told = outgoing.next_gathered();
        if were_gathered || told.is_some() {
            return Some(Next::Told(told));
        }
        if self.has_only_flushed() {
            self.enter(
                Stage::Request,
                if self.rests { config.idle() } else { config.limits.read },
                now,
            );
            return None;
        }
        if self.wire.stays_open() {
            let told = self.end_exchange(config, now);
            if self.fresh && !self.rests {
                // After its turn it waits for room for the next answer. A client that makes none is to be
                // ended at the write deadline: which begins with that answer.
                self.under_way().look = Some(later(now, READER_CHECK));
            }
            return Some(Next::Told(told));
        }
        if !self.input_follows() || !self.stream.half_close() {
            let ended = self.outcome();
            return Some(Next::Done(self.over(ended, config, now)));
        }
        self.enter(Stage::Close, config.limits.linger, now);
        None
    }

    /// An exchange is over, and its connection is kept. What there is to tell of it.
    pub(super) fn end_exchange(&mut self, config: &Config, now: Instant) -> Option<Exchange> {
        let ended = self.outcome();
        let exchange = is_told(&ended, config).then(|| {
            let peer = self.peer_of(&ended, config);
            self.exchange(ended, peer, now)
        });
        self.await_request(config, now);
        exchange
    }

    /// The next request may begin.
    pub(super) fn await_request(&mut self, config: &Config, now: Instant) {
        self.nth += 1;
        (self.begun, self.waited) = (now, false);
        self.fresh = !self.input().is_empty();
        self.rests = !self.wire.in_request(self.input());
        let within = if self.rests { config.idle() } else { config.limits.read };
        if self.rests && !self.fresh {
            // An idle connection is small.
            self.end_under_way();
        } else if let Some(under_way) = &mut self.under_way {
            under_way.go_on();
        }
        self.enter(Stage::Request, within, now);
    }

    /// A client that is still writing would have its next write fail, and might never come to read its
    /// answer. So it is given the end first (half-close), and its input discarded until it closes.
    pub(super) fn input_follows(&self) -> bool {
        let refused = self.under_way.as_ref().is_some_and(|of| of.outgoing.refused.is_some());
        match self.end {
            End::Closed | End::Shut | End::Lost => false,
            End::Open => {
                refused || !self.input().is_empty() && self.fresh || {
                    // In a single step no time has passed since the last look.
                    self.waited && self.stream.unread() > self.unread()
                }
            }
        }
    }

    /// Throws away what the client still sends.
    pub(super) fn discard(&mut self) -> Move {
        match read::chunk(|chunk| self.stream.read(chunk)) {
            Ok(0) => Move::Over(self.outcome()),
            Ok(count) => {
                // The bytes that were only looked at were counted then.
                let under_way = self.under_way();
                under_way.bytes_in += count - under_way.unread.min(count);
                under_way.unread -= under_way.unread.min(count);
                // A fast writer may not keep the thread from the other connections.
                Move::Wait(Interest::Read)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Move::Wait(Interest::Read)
            }
            Err(_) => Move::Over(self.outcome()),
        }
    }

    fn end_under_way(&mut self) {
        if let Some(under_way) = self.under_way.take() {
            under_way.end();
        }
    }

    pub(super) fn outcome(&mut self) -> Ended {
        self.outgoing().refused.take().map_or(Ended::Answered, Ended::Refused)
    }

    /// The end of the connection. What there is to tell of its exchange.
    pub(super) fn over(&mut self, ended: Ended, config: &Config, now: Instant) -> Option<Exchange> {
        // Ask for the peer only if the client got no answer: it costs a system call.
        let known = self.client.as_ref().and_then(|client| client.peer);
        let peer = match ended {
            Ended::Answered => known,
            _ => known.or_else(|| self.stream.peer()),
        };
        if let Some(client) = &mut self.client {
            client.leave();
        }
        if let Some(handler) = self.under_way().handler.take() {
            handler.abort();
        }
        let cut = matches!(ended, Ended::Cut(_) | Ended::ReplyNotTaken);
        if cut && self.wire.ends_by_close() && self.unread() > 0 {
            // Closed as it is, with bytes unread: the client sees an error and no clean end.
        } else if self.end == End::Closed && self.unread() == 0 {
            // Not by the close alone: a process that the handler has forked may hold a copy.
            self.stream.half_close();
        } else {
            // More may have come since the last look.
            let thrown_away = self.stream.shut();
            let under_way = self.under_way();
            under_way.bytes_in += thrown_away.saturating_sub(under_way.unread);
        }
        let told = is_told(&ended, config);
        let exchange = told.then(|| self.exchange(ended, peer, now));
        self.end_under_way();
        exchange
    }

    pub(super) fn peer_of(&self, ended: &Ended, config: &Config) -> Option<Peer> {
        let known = self.client.as_ref().and_then(|client| client.peer);
        let asks = config.names_peers || !matches!(ended, Ended::Answered);
        known.or_else(|| if asks { self.stream.peer() } else { None })
    }

    pub(super) fn exchange(&mut self, ended: Ended, peer: Option<Peer>, now: Instant) -> Exchange {
        let (nth, took) = (self.nth.into(), now.saturating_duration_since(self.begun));
        let under_way = self.under_way();
        Exchange {
            peer,
            nth,
            #[cfg(feature = "tracing")]
            id: under_way.id,
            bytes_in: under_way.bytes_in,
            bytes_out: under_way.bytes_out,
            took,
            handled: under_way.handled,
            ended,
        }
    }
}

/// Whether an exchange that has ended so is put together to be told. What a handler has left in its ending must not be
/// dropped on the thread that serves.
fn is_told(ended: &Ended, config: &Config) -> bool {
    config.is_observed || !matches!(ended, Ended::Answered)
}
