//! What becomes of a connection whose time is up.

use std::time::Instant;

use super::{Connection, End, Move, Stage};
use crate::event::{Cause, Ended};
use crate::serve::config::Config;
use crate::serve::stream::Stream;

impl<S: Stream> Connection<S> {
    /// Its time is up.
    pub(super) fn late(&mut self, config: &Config, now: Instant) -> Move {
        let stopping = config.stop.is_over(now);
        let early = now < self.due && !stopping;
        let cause = match self.stage {
            Stage::Close => return Move::Over(self.outcome()),
            Stage::Reply if early => {
                self.looks_no_more();
                return Move::On;
            }
            Stage::Reply => return self.cut(stopping, config, now),
            Stage::Request if self.rests => return self.retire(config, now),
            Stage::Request if early => return self.settle(config, now),
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
    pub(super) fn cut(&mut self, stopping: bool, config: &Config, now: Instant) -> Move {
        if self.is_all_refusal() {
            return Move::Over(self.outcome());
        }
        if !self.outgoing().waits_for_piece {
            return Move::Over(Ended::ReplyNotTaken);
        }
        let cause = match stopping {
            true => Cause::Stopping,
            false => Cause::HandlerLate { deadline: config.limits.handler },
        };
        self.fail(cause, config, now)
    }

    /// The reply that has perhaps begun ends here.
    pub(super) fn fail(&mut self, cause: Cause, config: &Config, now: Instant) -> Move {
        if self.outgoing().begun {
            return Move::Over(Ended::Cut(cause));
        }
        self.refuse(cause, config, now);
        Move::On
    }

    /// Ends a connection that rests, and loses no request: what came before the client could know is
    /// answered; what it sends from now on fails, and it knows that nothing of it arrived.
    pub(super) fn retire(&mut self, config: &Config, now: Instant) -> Move {
        if self.end != End::Open {
            return Move::Gone;
        }
        self.shut_input();
        if !self.input().is_empty() {
            self.begins(config, now);
        }
        Move::On
    }
}
