//! Writing a reply.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

use super::outgoing::{Flush, TOGETHER};
use super::under_way::UnderWay;
use super::{Connection, End, Move, Stage, failed, read};
use crate::event::{Cause, Ended, Exchange, State};
use crate::handler::{Fault, Piece, Reply};
use crate::limits::READER_CHECK;
use crate::serve::config::{Config, later};
use crate::serve::stream::{Interest, Stream};
use crate::wire::Unspeakable;

/// So many replies to requests that came together go out in one write, if they have room in
/// [`TOGETHER`].
const GATHERED: usize = 64;

impl<S: Stream> Connection<S> {
    /// Begins the handler's reply.
    pub(super) fn begin_reply(
        &mut self,
        reply: Reply,
        config: &Config,
        now: Instant,
    ) -> Result<(), Unspeakable> {
        if !self.wire.ends_by_close() && config.stop.begun().is_some() && self.end == End::Open {
            // What the client has sent by now is answered; what it sends later fails, and it knows.
            self.shut_input();
        }
        if self.end == End::Shut && self.input().is_empty() {
            self.wire.last();
        }
        let Self { under_way, wire, .. } = self;
        let outgoing = &mut under_way.get_or_insert_with(UnderWay::begin).outgoing;
        if reply.whole().is_some() {
            outgoing.whole(reply, wire)?;
        } else {
            // It is said with the first piece: until then the client can be told that there is none.
            outgoing.streamed = Some(reply);
        }
        self.enter(Stage::Reply, config.limits.write, now);
        Ok(())
    }

    /// The next piece of a reply; nothing, if its sender is gone without having finished it.
    pub(super) fn put_piece(&mut self, piece: Option<Piece>, config: &Config, now: Instant) {
        let Self { under_way, wire, .. } = self;
        let outgoing = &mut under_way.get_or_insert_with(UnderWay::begin).outgoing;
        outgoing.waits_for_piece = false;
        let mut said = Ok(());
        if !matches!(piece, Some(Piece::Failed(_)) | None) {
            if let Some(reply) = outgoing.streamed.as_mut().filter(|_| !outgoing.head_is_said) {
                said = wire.head(reply.head(), None, &mut outgoing.head);
                outgoing.head_is_said = true;
            }
        }
        match (said, piece) {
            (Err(Unspeakable(reason)), _) => {
                outgoing.broken = Some(Cause::HandlerFailed(Fault::new(reason)));
            }
            (Ok(()), Some(Piece::Bytes(bytes))) => {
                if let Err(Unspeakable(reason)) = outgoing.put(bytes, wire) {
                    outgoing.broken = Some(Cause::HandlerFailed(Fault::new(reason)));
                }
            }
            #[cfg(feature = "forward")]
            (Ok(()), Some(Piece::Piped(piped))) => {
                if let Err(Unspeakable(reason)) = outgoing.put_piped(piped, wire) {
                    outgoing.broken = Some(Cause::HandlerFailed(Fault::new(reason)));
                }
            }
            (Ok(()), Some(Piece::End)) => {
                outgoing.streamed = None;
                wire.tail(&mut outgoing.head);
            }
            (Ok(()), Some(Piece::Failed(fault))) => {
                outgoing.broken = Some(Cause::HandlerFailed(fault));
            }
            (Ok(()), None) => {
                let fault = Fault::new("the handler left its reply unfinished");
                outgoing.broken = Some(Cause::HandlerFailed(fault));
            }
        }
        self.enter(Stage::Reply, config.limits.write, now);
    }

    pub(super) fn write(&mut self, config: &Config, now: Instant) -> Move {
        if let Some(ended) = self.outgoing().over.take() {
            return Move::Over(ended);
        }
        loop {
            if let Some(cause) = self.outgoing().broken.take() {
                return self.fail(cause, config, now);
            }
            if self.gather(config, now) {
                return Move::On;
            }
            if let Some(moved) = self.flush_once(config, now) {
                return moved;
            }
            let outgoing = self.outgoing();
            match outgoing.pieces().map(Receiver::try_recv) {
                None => return Move::Written,
                Some(Ok(piece)) => self.put_piece(Some(piece), config, now),
                Some(Err(TryRecvError::Disconnected)) => self.put_piece(None, config, now),
                Some(Err(TryRecvError::Empty)) => {
                    if !std::mem::replace(&mut outgoing.waits_for_piece, true) {
                        self.enter(Stage::Reply, config.limits.handler, now);
                    }
                    return Move::Piece;
                }
            }
        }
    }

    /// None once all is written that there is.
    fn flush_once(&mut self, config: &Config, now: Instant) -> Option<Move> {
        let Self { under_way, stream, .. } = self;
        let under_way = under_way.get_or_insert_with(UnderWay::begin);
        let outgoing = &mut under_way.outgoing;
        // What is left of earlier replies was counted with them.
        let others = outgoing.earlier.saturating_sub(outgoing.sent);
        let (written, flush) = outgoing.flush(stream);
        under_way.bytes_out += written.saturating_sub(others);
        if written > 0 {
            // Each piece that the client takes gives it the time for another.
            self.due = later(now, config.limits.write);
        }
        match flush {
            Flush::All => None,
            Flush::Pause => Some(Move::Wait(Interest::Write)),
            Flush::Failed(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.make_room(now);
                Some(Move::Wait(Interest::Write))
            }
            // The client has the whole refusal or it has left: either way it was refused.
            Flush::Failed(_) if self.is_all_refusal() => Some(Move::Over(self.outcome())),
            Flush::Failed(error) => Some(failed(error, State::Writing, Interest::Write)),
        }
    }

    /// A client that writes on before it reads would wait for us as we wait for it.
    fn make_room(&mut self, now: Instant) {
        if !self.wire.ends_by_close() || self.end != End::Open {
            return;
        }
        let Self { under_way, stream, .. } = self;
        let under_way = under_way.get_or_insert_with(UnderWay::begin);
        under_way.look = Some(later(now, READER_CHECK));
        let unread = stream.unread();
        if unread <= under_way.unread {
            return;
        }
        // All but one byte, which tells a cut reply.
        let keep = under_way.unread.min(1);
        let mut left = unread - keep;
        read::chunk(|chunk| {
            while left > 0 {
                let most = left.min(chunk.len());
                let Ok(count @ 1..) = stream.read(&mut chunk[..most]) else { return };
                left -= count;
                // Bytes that were only looked at were counted then.
                let known = under_way.unread.min(count);
                under_way.unread -= known;
                under_way.bytes_in += count - known;
            }
            under_way.unread = keep;
            under_way.bytes_in += keep;
        });
    }

    /// Whether the reply, small and whole, was put to others whose requests came together with it.
    fn gather(&mut self, config: &Config, now: Instant) -> bool {
        let more_is_there = self.fresh && self.wire.stays_open();
        let outgoing = self.outgoing();
        let fits = outgoing.head.len() + outgoing.body.len() < TOGETHER;
        let may = more_is_there
            && fits
            && !outgoing.flush_only
            && !outgoing.is_stuck
            // Its first part went out with what was gathered before it.
            && !outgoing.begun
            && outgoing.sent == 0
            && outgoing.streamed.is_none()
            && outgoing.together < GATHERED;
        if !may {
            return false;
        }
        let (body, tail) = (std::mem::take(&mut outgoing.body), std::mem::take(&mut outgoing.tail));
        outgoing.head.extend_from_slice(&body);
        outgoing.head.extend_from_slice(&tail);
        let length = outgoing.head.len();
        let earlier = std::mem::replace(&mut outgoing.earlier, length);
        outgoing.together += 1;
        self.under_way().bytes_out = length - earlier;
        if let Some(exchange) = self.end_exchange(config, now) {
            self.outgoing().gathered.push_back(exchange);
        }
        true
    }

    pub(super) fn has_gathered(&self) -> bool {
        self.under_way.as_ref().is_some_and(|of| of.outgoing.together > 0)
    }

    /// The gathered replies are written, and then the rest of the next request is waited for.
    pub(super) fn flush_only(&mut self, config: &Config, now: Instant) {
        self.outgoing().flush_only = true;
        self.enter(Stage::Reply, config.limits.write, now);
    }

    /// Whether that was all that was to be written.
    pub(super) fn has_only_flushed(&mut self) -> bool {
        std::mem::take(&mut self.outgoing().flush_only)
    }

    /// Its handler keeps it waiting: writes the replies gathered so far. The exchanges that are over by
    /// that.
    pub(crate) fn awaits_handler(&mut self) -> VecDeque<Exchange> {
        self.waited = true;
        let Self { under_way, stream, .. } = self;
        let outgoing = &mut under_way.get_or_insert_with(UnderWay::begin).outgoing;
        if outgoing.together == 0 {
            return VecDeque::new();
        }
        let (_, flush) = outgoing.flush(stream);
        match flush {
            Flush::All => {
                outgoing.together = 0;
                std::mem::take(&mut outgoing.gathered)
            }
            _ => VecDeque::new(),
        }
    }

    /// Whether all that is to be written says why there is no answer.
    pub(super) fn is_all_refusal(&mut self) -> bool {
        let outgoing = self.outgoing();
        outgoing.refused.is_some() && outgoing.earlier == 0
    }

    /// A gathered exchange of a connection that is over: lost, unless its reply was written whole before.
    pub(super) fn next_lost(&mut self, ended: &Ended) -> Option<Exchange> {
        let outgoing = self.outgoing();
        let exchange = outgoing.next_gathered()?;
        // What was not written by now is not to be.
        outgoing.over = Some(ended.clone());
        if outgoing.earlier == 0 || exchange.bytes_out <= outgoing.sent {
            outgoing.sent = outgoing.sent.saturating_sub(exchange.bytes_out);
            return Some(exchange);
        }
        outgoing.sent = 0;
        Some(Exchange { ended: ended.clone(), ..exchange })
    }
}
