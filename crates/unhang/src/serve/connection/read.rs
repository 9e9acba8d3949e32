//! Reading a request.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::under_way::UnderWay;
use super::{Connection, End, Move, Stage, failed};
use crate::event::{Cause, Ended, Scarce, State};
use crate::serve::config::{Config, later};
use crate::serve::stream::{Interest, PASSED, Stream};
use crate::wire::{Decoded, Kind, Patience, Seen, Violation};

/// So many reads in a row, of whatever length, before other connections have their turn: a client that
/// writes byte by byte on another core may never let the queue run dry.
const READS: u32 = 64;

/// So many of them may have filled the buffer: half a mebibyte.
const FULL_READS: u32 = 8;

/// A long request's pause has to be this many times as long as the request took so far: a client that
/// is slow, or on a crowded machine, is slow in its pauses as well.
const PATIENCE: u32 = 4;

/// A thread that wakes up so much too late was kept from running: an idle machine takes less than one
/// millisecond.
const STALL: Duration = Duration::from_millis(10);

thread_local! {
    /// One buffer for all reads of a thread, so that an idle connection holds none. Larger than
    /// what one `write` is handed over in, so that a read that does not fill it has emptied the
    /// queue.
    static CHUNK: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

pub(super) fn chunk<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    CHUNK.with_borrow_mut(|chunk| read(chunk))
}

impl<S: Stream> Connection<S> {
    pub(super) fn read(&mut self, config: &Config, now: Instant) -> Move {
        if self.fresh {
            // It came with the request before this one.
            let nothing_follows = matches!(self.end, End::Closed | End::Shut);
            let seen = if nothing_follows { Seen::End } else { Seen::More };
            match self.decode(seen, config, now) {
                Move::On if self.stage == Stage::Request => {}
                moved => return moved,
            }
        }
        if self.has_gathered() {
            // No further reply comes along.
            self.flush_only(config, now);
            return Move::On;
        }
        if self.end == End::Lost {
            let passed = self.stream.has_passed();
            let cause = if passed { Cause::DescriptorPassed } else { Cause::Busy(Scarce::Kernel) };
            self.refuse_in_part(cause, config, now);
            return Move::On;
        }
        if self.end != End::Open {
            return Move::Gone;
        }
        let mut full = 0;
        for _ in 0..READS {
            let seen = match self.fill() {
                Ok(seen) => seen,
                Err(error) => return self.read_failed(error, config, now),
            };
            if self.rests && !self.input().is_empty() {
                self.begins(config, now);
            }
            if seen == Seen::End && self.input().is_empty() && self.asks_nothing() {
                return Move::Over(Ended::NoRequest);
            }
            let bounds = config.bounds(self.home);
            if self.under_way.as_mut().is_some_and(|of| !of.is_within(bounds)) {
                let most = bounds.0.most_held;
                self.refuse_in_part(Cause::Busy(Scarce::Memory { most }), config, now);
                return Move::On;
            }
            match self.decode(seen, config, now) {
                Move::On if self.stage == Stage::Request => {}
                moved => return moved,
            }
            full += u32::from(seen == Seen::More);
            match seen {
                Seen::End => return Move::Gone,
                Seen::More if full < FULL_READS => {}
                _ => break,
            }
        }
        // What lies in the queue would end the wait at once.
        match chunk(|chunk| self.consume(chunk)) {
            Ok(()) => Move::Wait(Interest::Read),
            Err(error) => self.read_failed(error, config, now),
        }
    }

    /// A pause was long enough to end the request. If this is seen too late, the server stood still, and so
    /// perhaps did the client: a machine that is suspended or has too much to do. It has another while then,
    /// once for each pause.
    pub(super) fn settle(&mut self, config: &Config, now: Instant) -> Move {
        let look = self.under_way().look.take();
        let late = look.map_or(Duration::ZERO, |look| now.saturating_duration_since(look));
        let stood_still = late > STALL && !self.stalled;
        self.stalled |= stood_still;
        if stood_still || self.is_held_up() {
            self.under_way().look = Some(later(now, config.limits.settle));
            return Move::On;
        }
        self.decode(Seen::Settled, config, now)
    }

    /// Whether the client would go on if it could: a thread of it does not sleep, and has had no processor
    /// time since the last look. It is looked at twice: a client may compute while it waits.
    fn is_held_up(&mut self) -> bool {
        let Some(awake) = self.stream.peer_awake() else { return false };
        let last = &mut self.under_way().peer_awake;
        let is_held_up = last.as_ref().is_none_or(|last| awake.is_held_up_since(last));
        *last = Some(awake);
        is_held_up
    }

    /// Lets nothing more in, and reads what is there.
    pub(super) fn shut_input(&mut self) {
        use io::ErrorKind::{ConnectionReset, WouldBlock};
        self.stream.shut_input();
        self.end = chunk(|chunk| {
            loop {
                match self.stream.read(chunk) {
                    Ok(0) => return End::Shut,
                    Ok(count) => self.under_way().put_in(&chunk[..count]),
                    // A client that is gone waits for no answer.
                    Err(error) if matches!(error.kind(), WouldBlock | ConnectionReset) => {
                        return End::Shut;
                    }
                    Err(_) if self.stream.unread() == 0 => return End::Shut,
                    Err(_) => return End::Lost,
                }
                self.fresh = true;
            }
        });
    }

    /// The first bytes of a request on a connection that was kept.
    pub(super) fn begins(&mut self, config: &Config, now: Instant) {
        (self.rests, self.begun) = (false, now);
        self.enter(Stage::Request, config.limits.read, now);
    }

    /// The client has left without a byte, or was only a probe.
    fn asks_nothing(&self) -> bool {
        self.nth == 1 && (!self.wire.ends_by_close() || self.stream.is_hung_up())
    }

    fn fill(&mut self) -> io::Result<Seen> {
        chunk(|chunk| {
            let mut ended = false;
            let count = if self.wire.ends_by_close() {
                self.consume(chunk)?;
                // Asked first: what came before the end is then seen with it.
                ended = self.wire.needs_half_close() && self.stream.input_ended();
                self.stream.peek(chunk)?
            } else {
                self.stream.read(chunk)?
            };
            (self.waited, self.stalled) = (false, false);
            self.looks_no_more();
            if count > 0 {
                let unread = if self.wire.ends_by_close() { count } else { 0 };
                let under_way = self.under_way();
                under_way.unread = unread;
                under_way.put_in(&chunk[..count]);
            }
            if count == chunk.len() {
                return Ok(Seen::More);
            }
            if count == 0 || ended {
                self.end = End::Closed;
                return Ok(Seen::End);
            }
            Ok(Seen::Dry)
        })
    }

    /// Reads what was only looked at.
    fn consume(&mut self, chunk: &mut [u8]) -> io::Result<()> {
        let Self { under_way: Some(under_way), stream, .. } = self else { return Ok(()) };
        while under_way.unread > 0 {
            let most = under_way.unread.min(chunk.len());
            match stream.read(&mut chunk[..most])? {
                0 => under_way.unread = 0,
                count => under_way.unread -= count,
            }
        }
        Ok(())
    }

    fn decode(&mut self, seen: Seen, config: &Config, now: Instant) -> Move {
        self.fresh = false;
        let Self { under_way, wire, .. } = self;
        let input = under_way.as_deref().map_or(&[][..], UnderWay::input);
        match wire.decode(input, seen, config.limits.max_request) {
            Ok(Decoded::Request { body, used }) => {
                let is_alone = wire.ends_by_close();
                let under_way = under_way.get_or_insert_with(UnderWay::begin);
                under_way.look = None;
                let bytes = under_way.take_out(body, used);
                if !is_alone {
                    under_way.bytes_in = used;
                }
                (self.rests, self.fresh) = (false, !under_way.input().is_empty());
                return Move::Ask(bytes);
            }
            Ok(Decoded::Over) => return Move::Gone,
            Ok(Decoded::More) => self.looks_no_more(),
            Ok(Decoded::Settle(patience)) => {
                let settle = config.limits.settle;
                let pause = match patience {
                    Patience::Short => settle,
                    Patience::Long => settle.max((now - self.begun) * PATIENCE),
                };
                self.under_way().look = Some(later(now, pause));
            }
            Err(violation) => self.violated(violation, config, now),
        }
        if let Some(interim) = self.wire.interim() {
            // A client that cannot take it goes on without it.
            let _ = self.stream.write(interim);
        }
        Move::On
    }

    fn violated(&mut self, violation: Violation, config: &Config, now: Instant) {
        let Violation { kind, reason, used } = violation;
        self.under_way().skip(used);
        self.fresh = !self.input().is_empty();
        let cause = match kind {
            Kind::TooLong => Cause::RequestTooLong { limit: config.limits.max_request },
            _ => Cause::Malformed(reason),
        };
        self.refuse_as(kind, cause, config, now);
    }

    fn read_failed(&mut self, error: io::Error, config: &Config, now: Instant) -> Move {
        use io::ErrorKind::{OutOfMemory, StorageFull};
        let cause = match error.kind() {
            // ENOMEM and ENOSPC. Nothing has been written: the client can be told.
            OutOfMemory | StorageFull => Cause::Busy(Scarce::Kernel),
            _ if Errno::from_io_error(&error) == Some(PASSED) => Cause::DescriptorPassed,
            _ => return failed(error, State::Reading, Interest::Read),
        };
        self.refuse_in_part(cause, config, now);
        Move::On
    }
}
