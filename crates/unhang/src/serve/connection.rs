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
mod under_way;
mod write;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::event::{Cause, Ended, Exchange, Scarce, State};
use crate::handler::{Held, Request, WaitsFor};
use crate::serve::admission::{Client, Place};
use crate::serve::config::{Config, later};
use crate::serve::stream::{Interest, Stream};
use crate::serve::system::Abort;
use crate::wire::Wire;
use outgoing::Outgoing;
use under_way::UnderWay;

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
    /// When this exchange began.
    begun: Instant,
    /// What is known of the client's side of the stream.
    end: End,
    /// Its input has not been decoded since it last changed.
    fresh: bool,
    /// Time has passed since the last read: more may have come.
    waited: bool,
    /// This server stood still in the pause that is to end the request.
    stalled: bool,
    /// No request is under way: the connection is kept for the next one.
    rests: bool,
    nth: u32,
    /// The worker that it belongs to, in whose table it is parked.
    pub(crate) home: u8,
    pub(crate) watched: Watched,
    /// Where it lies in that table whenever it is parked, if it is watched [each time](Watched::Each).
    pub(crate) at: u32,
    client: Option<Box<Client>>,
    place: Option<Place>,
    under_way: Option<Box<UnderWay>>,
}

/// How the poller of its worker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    No,
    /// It is reported once for each time that it is parked.
    Once,
    /// It is reported each time, under the same number.
    Each,
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
    /// The same, and not all that came before could be read.
    Lost,
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
    /// An exchange is over, and the connection goes on. Nothing, if there is nobody to tell.
    Told(Option<Exchange>),
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
            begun: now,
            end: End::Open,
            fresh: false,
            waited: false,
            stalled: false,
            rests,
            nth: 1,
            home: 0,
            watched: Watched::No,
            at: 0,
            client,
            place,
            under_way: None,
        }
    }

    /// Does all that can be done at once.
    pub(crate) fn step(&mut self, config: &Config, now: Instant) -> Next {
        loop {
            let mut moved = match self.stage {
                Stage::Request => self.read(config, now),
                Stage::Handler => Move::Wait(Interest::Nothing),
                Stage::Reply => self.write(config, now),
                Stage::Close => self.discard(),
            };
            if matches!(moved, Move::Wait(_) | Move::Piece) && now >= self.due(config) {
                self.waited = true;
                moved = self.late(config, now);
            }
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
                        return Next::Told(Some(lost));
                    }
                    return Next::Done(self.over(ended, config, now));
                }
                Move::Gone => {
                    self.stream.shut();
                    return Next::Done(None);
                }
            }
        }
    }

    /// Its handler goes on elsewhere; dropped, this ends it.
    pub(crate) fn handled_by(&mut self, handler: Box<dyn Abort>) {
        self.under_way().handler = Some(handler);
    }

    /// Its handler goes on elsewhere with this request, and may say there what it waits for.
    pub(crate) fn handler_holds(&mut self, held: Option<&Arc<Held>>) {
        self.under_way().held = held.map(Arc::downgrade);
    }

    /// Its handler runs in the span with this id.
    #[cfg(feature = "tracing")]
    pub(crate) fn runs_in_span(&mut self, id: u64) {
        self.under_way().id = Some(id);
    }

    /// When it has to be stepped, whatever comes.
    pub(crate) fn due(&self, config: &Config) -> Instant {
        let look = self.under_way.as_ref().and_then(|under_way| under_way.look);
        let first = look.map_or(self.due, |look| look.min(self.due));
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

    /// So many of its exchanges are over.
    pub(crate) fn exchanges(&self) -> u32 {
        self.nth - 1
    }

    /// Whether another request may follow on it.
    pub(crate) fn is_kept(&self) -> bool {
        !self.wire.ends_by_close()
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

    /// It ends with its next reply, and tells the client so if its wire can.
    pub(crate) fn says_last(&mut self) {
        self.wire.last();
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
            return self.refuse_in_part(Cause::Busy(Scarce::Kernel), config, now);
        }
        // It ends with what can be done at once.
        self.due = now;
        self.looks_no_more();
    }

    /// Ends it as it stands.
    pub(crate) fn give_up(&mut self, config: &Config, now: Instant) -> Option<Exchange> {
        let ended = self.outcome();
        self.over(ended, config, now)
    }

    /// Its descriptor, what it waits for, since when, and until when: what `unhang why` is told.
    pub(crate) fn state(&self, config: &Config) -> Option<(RawFd, &'static str, Instant, Instant)> {
        let under_way = self.under_way.as_deref();
        let (word, since) = match self.stage {
            Stage::Request if self.rests => ("idle", self.begun),
            Stage::Request => ("request", self.begun),
            Stage::Reply if under_way.is_some_and(|of| of.outgoing.waits_for_piece) => {
                ("handler", self.begun)
            }
            Stage::Handler => ("handler", under_way.and_then(|of| of.asked).unwrap_or(self.begun)),
            Stage::Reply => ("reader", self.begun),
            Stage::Close => ("close", self.begun),
        };
        Some((self.stream.descriptor()?, word, since, self.due(config)))
    }

    /// What its handler has said that it waits for.
    pub(crate) fn waits_for(&self) -> Option<WaitsFor> {
        let under_way = self.under_way.as_deref()?;
        let is_handled = self.stage == Stage::Handler || under_way.outgoing.waits_for_piece;
        under_way.held.as_ref()?.upgrade()?.waits_for().filter(|_| is_handled)
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

    fn under_way(&mut self) -> &mut UnderWay {
        self.under_way.get_or_insert_with(UnderWay::begin)
    }

    fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.under_way().outgoing
    }

    /// Bytes that came and are not done with.
    fn input(&self) -> &[u8] {
        self.under_way.as_deref().map_or(&[], UnderWay::input)
    }

    /// So many of them were only looked at.
    fn unread(&self) -> usize {
        self.under_way.as_ref().map_or(0, |under_way| under_way.unread)
    }

    fn looks_no_more(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            under_way.look = None;
        }
    }

    fn enter(&mut self, stage: Stage, within: Duration, now: Instant) {
        (self.stage, self.due) = (stage, later(now, within));
        self.looks_no_more();
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
