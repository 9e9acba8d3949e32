//! One connection's life as a value: request → handler → reply → close, or the next request.
//!
//! The thread that has it steps it. A step never waits: it does what can be done at once, even when time
//! is up, and then says what is missing and until when. No stage can outlast its deadline or the server's
//! drain, and every way out closes the connection.

mod answer;
mod close;
mod late;
mod outgoing;
mod read;
mod write;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::event::{Cause, Ended, Exchange, Scarce, State};
use crate::handler::{Request, WaitsFor};
use crate::serve::admission::{Client, Place};
use crate::serve::budget::Share;
use crate::serve::config::{Config, later};
use crate::serve::stream::{Interest, Stream};
use crate::serve::system::Abort;
use crate::wire::Wire;
use outgoing::Outgoing;

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
    /// This server stood still in the pause that is to end the request.
    stalled: bool,
    /// What the threads of the client that do not sleep had run in the pause that is to end the request.
    peer_ran: Option<Duration>,
    /// No request is under way: the connection is kept for the next one.
    rests: bool,
    bytes_in: usize,
    bytes_out: usize,
    nth: u32,
    /// Of the exchange, once its handler was asked.
    #[cfg(feature = "tracing")]
    pub(crate) id: Option<u64>,
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
            stalled: false,
            peer_ran: None,
            rests,
            bytes_in: 0,
            bytes_out: 0,
            nth: 1,
            #[cfg(feature = "tracing")]
            id: None,
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

    /// Whether it is kept, and all that it waits for is a request.
    pub(crate) fn is_idle(&self) -> bool {
        self.rests && self.stage == Stage::Request
    }

    /// Whether requests that came with the last one are next.
    pub(crate) fn has_more(&self) -> bool {
        !self.rests && self.stage == Stage::Request
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

    /// What its handler has said that it waits for.
    pub(crate) fn waits_for(&self) -> Option<WaitsFor> {
        let outgoing = self.outgoing.as_deref()?;
        let is_handled = self.stage == Stage::Handler || outgoing.waits_for_piece();
        outgoing.held.as_ref()?.upgrade()?.waits_for().filter(|_| is_handled)
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
        self.outgoing.get_or_insert_with(Outgoing::begin)
    }

    fn enter(&mut self, stage: Stage, within: Duration, now: Instant) {
        (self.stage, self.due, self.look) = (stage, later(now, within), None);
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
