//! One connection's life as a value: request → handler → reply → close, or the next request.
//!
//! The thread that has it steps it. A step never waits: it does what can be done at once, even when time
//! is up, and then says what is missing and until when. No stage can outlast its deadline or the server's
//! drain, and every way out closes the connection.

mod read;
mod write;

use std::any::Any;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::event::{Cause, Ended, Exchange, Scarce, State};
use crate::handler::{Caller, Fault, Reply, Request};
use crate::serve::admission::{Client, Place};
use crate::serve::budget::Share;
use crate::serve::config::{Config, later};
use crate::serve::stream::Stream;
use crate::wire::{Kind, Refusal, Wire};
use write::Outgoing;

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is asked for by itself, and an idle one is small"
)]
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    wire: Wire,
    stage: Stage,
    /// When this stage is late.
    due: Instant,
    /// When to look again before that: a pause until then ends the request, or shows that the client
    /// still writes as it should read.
    look: Option<Instant>,
    /// When this exchange began.
    begun: Instant,
    /// Bytes that came and are not done with.
    input: Vec<u8>,
    /// So many bytes at the end of `input` were only looked at: they still lie in the receive queue, so
    /// that a close would reset the client. That is how a cut reply is told.
    unread: usize,
    /// What is known of the client's side of the stream.
    end: End,
    /// `input` has not been decoded since it last changed.
    fresh: bool,
    /// Time has passed since the last read: more may have come.
    waited: bool,
    /// No request is under way: the connection is kept for the next one.
    rests: bool,
    bytes_in: usize,
    bytes_out: usize,
    nth: u32,
    /// Where it is parked and watched, see [`Post`](crate::serve::parked::Post).
    pub(crate) home: u8,
    pub(crate) watched: bool,
    share: Share,
    client: Option<Box<Client>>,
    place: Option<Place>,
    outgoing: Option<Box<Outgoing>>,
}

/// What is known of the client's side of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It may still write.
    Open,
    /// It has half-closed: nothing follows.
    Closed,
    /// Its input was shut by us: nothing follows, and it knows that.
    Shut,
}

/// Where a connection is. Its name is what `unhang why` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Request,
    Handler,
    Reply,
    Close,
}

/// What it takes to go on.
#[derive(Debug)]
pub(crate) enum Next {
    /// To be stepped again when the stream is ready for this, and no later than at [`Connection::due`].
    Wait(Interest),
    /// To be answered.
    Ask(Request),
    /// To be asked for the next piece of its reply.
    Piece,
    /// An exchange is over, and the connection goes on.
    Told(Exchange),
    /// The connection is over. Nothing, if it was kept and asked nothing more.
    Done(Option<Exchange>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    Write,
    Nothing,
}

/// What a stage has come to.
enum Move {
    On,
    Wait(Interest),
    Ask(Vec<u8>),
    Piece,
    Written,
    Over(Ended),
    /// A kept connection ended between two exchanges.
    Gone,
}

impl<S: Stream> Connection<S> {
    pub(crate) fn new(
        stream: S,
        config: &Config,
        client: Client,
        place: Option<Place>,
        now: Instant,
    ) -> Self {
        // Most servers know nothing of their clients, and an idle connection is small.
        let client = (client.peer.is_some() || client.is_counted()).then(|| Box::new(client));
        let rests = !config.wire.in_request(&[]);
        let within = if rests { config.idle() } else { config.limits.read };
        Self {
            stream,
            wire: config.wire.clone(),
            stage: Stage::Request,
            due: later(now, within),
            look: None,
            begun: now,
            input: Vec::new(),
            unread: 0,
            end: End::Open,
            fresh: false,
            waited: false,
            rests,
            bytes_in: 0,
            bytes_out: 0,
            nth: 1,
            home: 0,
            watched: false,
            share: Share::default(),
            client,
            place,
            outgoing: None,
        }
    }

    /// Does all that can be done at once.
    pub(crate) fn step(&mut self, config: &Config, now: Instant) -> Next {
        loop {
            let moved = match self.stage {
                Stage::Request => self.read(config, now),
                Stage::Handler => Move::Wait(Interest::Nothing),
                Stage::Reply => self.write(config, now),
                Stage::Close => self.discard(),
            };
            let moved = match moved {
                Move::Wait(_) | Move::Piece if now >= self.due(config) => {
                    self.waited = true;
                    self.late(config, now)
                }
                moved => moved,
            };
            match moved {
                Move::On => {}
                Move::Wait(interest) => {
                    self.waited = true;
                    return Next::Wait(interest);
                }
                Move::Ask(body) => {
                    if let Some(request) = self.ask(body, config, now) {
                        return Next::Ask(request);
                    }
                }
                Move::Piece => return Next::Piece,
                Move::Written => {
                    if let Some(next) = self.replied(config, now) {
                        return next;
                    }
                }
                Move::Over(ended) => {
                    if let Some(lost) = self.next_lost(&ended) {
                        return Next::Told(lost);
                    }
                    return Next::Done(Some(self.over(ended, now)));
                }
                Move::Gone => {
                    self.bytes_in += self.stream.shut();
                    return Next::Done(None);
                }
            }
        }
    }

    /// The request that `body` is of, unless it cannot be handled.
    fn ask(&mut self, mut body: Vec<u8>, config: &Config, now: Instant) -> Option<Request> {
        let parts = self.wire.parts(&mut body);
        let Ok(running) = config.handlers.begin(std::mem::take(&mut self.share)) else {
            let most = config.handlers.most;
            self.refuse(Cause::Busy(Scarce::Handlers { most }), config, now);
            return None;
        };
        let peer = self.client.as_ref().and_then(|client| client.peer);
        let caller = peer.map_or_else(|| self.stream.caller(), Caller::Known);
        self.waited = false;
        self.enter(Stage::Handler, config.limits.handler, now);
        self.outgoing().asked = Some(now);
        let held: Arc<dyn Any + Send + Sync> = Arc::new(running);
        Some(Request::from(body, caller, parts, Some(held)))
    }

    /// What the handler has come to.
    pub(crate) fn answer(&mut self, answer: Result<Reply, Fault>, config: &Config, now: Instant) {
        let handled = self.outgoing().answered(now);
        if self.went_on(handled) {
            return self.refuse(Cause::RequestWentOn, config, now);
        }
        let fault = match answer {
            Ok(reply) => match self.begin_reply(reply, config, now) {
                Ok(()) => return,
                Err(unspeakable) => Fault::new(unspeakable.0),
            },
            Err(fault) => fault,
        };
        self.refuse(Cause::HandlerFailed(fault), config, now);
    }

    /// Whether more of the request came after a pause that had been taken for its end. The client gets
    /// no answer to a part as if that were the whole.
    fn went_on(&self, handled: Duration) -> bool {
        /// In less time no client was heard of: looking costs a system call.
        const NO_TIME: Duration = Duration::from_micros(50);
        let may_have = self.waited || handled >= NO_TIME;
        self.wire.ends_by_pause()
            && self.end == End::Open
            && may_have
            && self.stream.unread() > self.unread
    }

    /// Tells the client why it gets no answer: the only place that does. Nothing of a reply may have been
    /// written.
    pub(crate) fn refuse(&mut self, cause: Cause, config: &Config, now: Instant) {
        self.refuse_as(kind(&cause), cause, config, now);
    }

    fn refuse_as(&mut self, kind: Kind, cause: Cause, config: &Config, now: Instant) {
        // Its bytes are not needed any more, and others may need the room.
        (self.share, self.look) = (Share::default(), None);
        if !self.wire.stays_open() {
            (self.input, self.fresh) = (Vec::new(), false);
        }
        let own = match (&cause, &config.refusal) {
            (Cause::HandlerFailed(fault), _) if fault.reply().is_some() => {
                fault.reply().map(Reply::copied)
            }
            (_, Some(refusal)) => Some(refusal(&cause).unwrap_or_else(|| Reply::copied(&[]))),
            _ => None,
        };
        let mut outgoing = std::mem::take(self.outgoing());
        outgoing.forget_reply();
        if let Some(reply) = own {
            self.wire.refused(kind);
            if reply.whole().is_some() {
                // A wire that cannot say it closes without a word.
                let _ = outgoing.whole(reply, &mut self.wire);
            }
        } else {
            let reason = cause.to_string();
            self.wire.refusal(Refusal { kind, reason: &reason }, outgoing.head());
        }
        outgoing.refused = Some(cause);
        *self.outgoing() = outgoing;
        self.enter(Stage::Reply, config.limits.write, now);
    }

    /// Its handler goes on elsewhere; dropped, this ends it.
    pub(crate) fn handled_by(&mut self, handler: Box<dyn Abort>) {
        self.outgoing().handler = Some(handler);
    }

    /// When it has to be stepped, whatever comes.
    pub(crate) fn due(&self, config: &Config) -> Instant {
        let first = self.look.map_or(self.due, |look| look.min(self.due));
        let rest = self.rests.then(|| config.rest_ends()).flatten();
        [config.stop.end(), rest].into_iter().flatten().fold(first, Instant::min)
    }

    /// Whether it is kept, and no request is under way.
    pub(crate) fn rests(&self) -> bool {
        self.rests
    }

    /// Whether it waits for a handler's answer.
    #[cfg(fuzzing)]
    pub(crate) fn is_handled(&self) -> bool {
        self.stage == Stage::Handler
    }

    /// Lends its place to others while it rests.
    pub(crate) fn lends_place(&mut self) {
        if let Some(place) = &mut self.place {
            place.lend();
        }
    }

    /// Takes a place again. False if there is none.
    pub(crate) fn resumes(&mut self) -> bool {
        self.place.as_mut().is_none_or(Place::take_back)
    }

    /// Ends it, if it rests, with its next step.
    pub(crate) fn retires(&mut self, now: Instant) {
        if self.rests {
            self.due = now;
        }
    }

    /// The kernel has no room to watch it.
    pub(crate) fn no_room(&mut self, config: &Config, now: Instant) {
        if self.stage == Stage::Request && !self.rests {
            return self.refuse(Cause::Busy(Scarce::Kernel), config, now);
        }
        // It ends with what can be done at once.
        (self.due, self.look) = (now, None);
    }

    /// Ends it as it stands.
    pub(crate) fn give_up(&mut self, now: Instant) -> Exchange {
        let ended = self.outcome();
        self.over(ended, now)
    }

    /// Its descriptor, what it waits for, since when, and until when: what `unhang why` is told.
    pub(crate) fn state(&self, config: &Config) -> Option<(RawFd, &'static str, Instant, Instant)> {
        let outgoing = self.outgoing.as_deref();
        let (word, since) = match self.stage {
            Stage::Request if self.rests => ("idle", self.begun),
            Stage::Request => ("request", self.begun),
            Stage::Reply if outgoing.is_some_and(Outgoing::waits_for_piece) => {
                ("handler", self.begun)
            }
            Stage::Handler => {
                ("handler", outgoing.and_then(|outgoing| outgoing.asked).unwrap_or(self.begun))
            }
            Stage::Reply => ("reader", self.begun),
            Stage::Close => ("close", self.begun),
        };
        Some((self.stream.descriptor()?, word, since, self.due(config)))
    }

    /// Polls for the next piece of its reply.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        config: &Config,
        now: Instant,
    ) -> Poll<()> {
        let piece = std::task::ready!(self.outgoing().poll_piece(cx));
        self.put_piece(piece, config, now);
        Poll::Ready(())
    }

    fn outgoing(&mut self) -> &mut Outgoing {
        self.outgoing.get_or_insert_default()
    }

    fn enter(&mut self, stage: Stage, within: Duration, now: Instant) {
        (self.stage, self.due, self.look) = (stage, later(now, within), None);
    }

    /// Its time is up.
    fn late(&mut self, config: &Config, now: Instant) -> Move {
        let stopping = config.stop.is_over(now);
        let early = now < self.due && !stopping;
        let cause = match self.stage {
            Stage::Close => return Move::Over(self.outcome()),
            Stage::Reply if early => {
                self.look = None;
                return Move::On;
            }
            Stage::Reply => return self.cut(stopping, config, now),
            Stage::Request if self.rests => return self.retire(),
            Stage::Request if early => {
                self.look = None;
                return self.settle(config, now);
            }
            Stage::Request | Stage::Handler if stopping => Cause::Stopping,
            Stage::Request => {
                Cause::RequestLate { deadline: config.limits.read, advice: self.wire.advice() }
            }
            Stage::Handler => Cause::HandlerLate { deadline: config.limits.handler },
        };
        self.refuse(cause, config, now);
        Move::On
    }

    /// The reply cannot be made whole.
    fn cut(&mut self, stopping: bool, config: &Config, now: Instant) -> Move {
        let outgoing = self.outgoing();
        if outgoing.refused.is_some() {
            return Move::Over(self.outcome());
        }
        if !outgoing.waits_for_piece() {
            return Move::Over(Ended::ReplyNotTaken);
        }
        let cause = match stopping {
            true => Cause::Stopping,
            false => Cause::HandlerLate { deadline: config.limits.handler },
        };
        self.fail(cause, config, now)
    }

    /// The reply that has perhaps begun ends here.
    fn fail(&mut self, cause: Cause, config: &Config, now: Instant) -> Move {
        if self.outgoing().has_begun() {
            return Move::Over(Ended::Cut(cause));
        }
        self.refuse(cause, config, now);
        Move::On
    }

    /// Ends a connection that rests, and loses no request: what came before the client could know is
    /// answered; what it sends from now on fails, and it knows that nothing of it arrived.
    fn retire(&mut self) -> Move {
        if self.end != End::Open {
            return Move::Gone;
        }
        self.shut_input();
        Move::On
    }

    /// All is written. None if the connection goes on to something else.
    fn replied(&mut self, config: &Config, now: Instant) -> Option<Next> {
        if let Some(told) = self.outgoing().next_gathered() {
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
            return Some(Next::Told(self.end_exchange(config, now)));
        }
        if !self.input_follows() || !self.stream.half_close() {
            let ended = self.outcome();
            return Some(Next::Done(Some(self.over(ended, now))));
        }
        self.enter(Stage::Close, config.limits.linger, now);
        None
    }

    /// An exchange is over, and its connection is kept.
    fn end_exchange(&mut self, config: &Config, now: Instant) -> Exchange {
        let ended = self.outcome();
        let peer = self.peer_of(&ended, config);
        let exchange = self.exchange(ended, peer, now);
        self.await_request(config, now);
        exchange
    }

    /// The next request may begin.
    fn await_request(&mut self, config: &Config, now: Instant) {
        self.nth += 1;
        (self.begun, self.waited) = (now, false);
        (self.bytes_in, self.bytes_out) = (self.input.len(), 0);
        self.fresh = !self.input.is_empty();
        self.rests = !self.wire.in_request(&self.input);
        let within = if self.rests { config.idle() } else { config.limits.read };
        if self.rests && self.input.is_empty() {
            // An idle connection is small.
            (self.input, self.outgoing) = (Vec::new(), None);
        } else if let Some(outgoing) = &mut self.outgoing {
            outgoing.forget_reply();
        }
        self.enter(Stage::Request, within, now);
    }

    /// A client that is still writing would have its next write fail, and might never come to read its
    /// answer. So it is given the end first (half-close), and its input discarded until it closes.
    fn input_follows(&self) -> bool {
        let refused = self.outgoing.as_ref().is_some_and(|outgoing| outgoing.refused.is_some());
        match self.end {
            End::Closed | End::Shut => false,
            End::Open => {
                refused || !self.input.is_empty() && self.fresh || {
                    // In a single step no time has passed since the last look.
                    self.waited && self.stream.unread() > self.unread
                }
            }
        }
    }

    /// Throws away what the client still sends.
    fn discard(&mut self) -> Move {
        match read::chunk(|chunk| self.stream.read(chunk)) {
            Ok(0) => Move::Over(self.outcome()),
            Ok(count) => {
                // The bytes that were only looked at were counted then.
                self.bytes_in += count - self.unread.min(count);
                self.unread -= self.unread.min(count);
                // A fast writer may not keep the thread from the other connections.
                Move::Wait(Interest::Read)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Move::Wait(Interest::Read)
            }
            Err(_) => Move::Over(self.outcome()),
        }
    }

    fn outcome(&mut self) -> Ended {
        self.outgoing().refused.take().map_or(Ended::Answered, Ended::Refused)
    }

    /// The end of the connection.
    fn over(&mut self, ended: Ended, now: Instant) -> Exchange {
        // Ask for the peer only if the client got no answer: it costs a system call.
        let known = self.client.as_ref().and_then(|client| client.peer);
        let peer = match ended {
            Ended::Answered => known,
            _ => known.or_else(|| self.stream.peer()),
        };
        if let Some(client) = &mut self.client {
            client.leave();
        }
        if let Some(handler) = self.outgoing().handler.take() {
            handler.abort();
        }
        let cut = matches!(ended, Ended::Cut(_) | Ended::ReplyNotTaken);
        if cut && self.wire.ends_by_close() && self.unread > 0 {
            // Closed as it is, with bytes unread: the client sees an error and no clean end.
        } else if self.end == End::Closed && self.unread == 0 {
            // Not by the close alone: a process that the handler has forked may hold a copy.
            self.stream.half_close();
        } else {
            // More may have come since the last look.
            self.bytes_in += self.stream.shut().saturating_sub(self.unread);
        }
        self.exchange(ended, peer, now)
    }

    fn peer_of(&self, ended: &Ended, config: &Config) -> Option<crate::handler::Peer> {
        let known = self.client.as_ref().and_then(|client| client.peer);
        let asks = config.names_peers || !matches!(ended, Ended::Answered);
        known.or_else(|| if asks { self.stream.peer() } else { None })
    }

    fn exchange(
        &mut self,
        ended: Ended,
        peer: Option<crate::handler::Peer>,
        now: Instant,
    ) -> Exchange {
        let (bytes_in, bytes_out) = (self.bytes_in, self.bytes_out);
        let handled = self.outgoing.as_ref().and_then(|outgoing| outgoing.handled);
        let took = now.saturating_duration_since(self.begun);
        Exchange { peer, nth: self.nth.into(), bytes_in, bytes_out, took, handled, ended }
    }
}

/// Ends a handler that goes on elsewhere, at its next `.await`.
pub(crate) trait Abort: Send {
    fn abort(&self);
}

/// Why there is no answer, as far as a wire has different words for it.
fn kind(cause: &Cause) -> Kind {
    match cause {
        Cause::RequestTooLong { .. } => Kind::TooLong,
        Cause::RequestLate { .. } => Kind::RequestLate,
        Cause::Malformed(_) | Cause::RequestWentOn | Cause::DescriptorPassed => Kind::Malformed,
        Cause::HandlerLate { .. } => Kind::HandlerLate,
        Cause::HandlerFailed(_) => Kind::HandlerFailed,
        Cause::Stopping => Kind::Stopping,
        Cause::Busy(_) => Kind::Busy,
        Cause::NotAllowed => Kind::NotAllowed,
    }
}

/// What a failed call has come to.
fn failed(error: std::io::Error, state: State, stage_waits: Interest) -> Move {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
    match error.kind() {
        WouldBlock => Move::Wait(stage_waits),
        BrokenPipe | ConnectionReset => Move::Over(Ended::ClientGone(state)),
        _ => Move::Over(Ended::Failed(state, Arc::new(error))),
    }
}
