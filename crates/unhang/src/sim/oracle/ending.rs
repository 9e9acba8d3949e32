//! Whether an exchange ended as it must, and in time.

use std::time::Instant;

use crate::event::{Cause, Ended, Exchange, Scarce};
use crate::handler::FaultKind;
use crate::limits::READER_CHECK;
use crate::sim::World;
use crate::sim::handler::{reply, told};
use crate::sim::plan::{ClientPlan, Deed};
use crate::sim::socket::{Facts, Side, Trap};

use super::{framing, may_ask};
use crate::wire::oneshot::Until;

/// The endings that must come about. That a client is gone while its request is read does not: it
/// could reset the connection only over bytes that it had been sent, and there are none yet.
pub(in crate::sim) const ENDINGS: &[&str] = &[
    "Answered",
    "NoRequest",
    "ClientGone(Writing)",
    "ReplyNotTaken",
    "Failed",
    "RequestTooLong",
    "RequestLate",
    "HandlerLate",
    "HandlerFailed(Told)",
    "HandlerFailed(Failed)",
    "HandlerFailed(Panicked)",
    "Stopping",
    "Busy(Places)",
    "Busy(PerUser)",
    "Busy(Memory)",
    "Busy(Descriptors)",
    "NotAllowed",
];

pub(super) fn name(ended: &Ended) -> String {
    name_of(ended, ENDINGS)
}

/// The one of these that it is, whatever it says besides.
pub(in crate::sim) fn name_of(ended: &Ended, endings: &[&str]) -> String {
    let full = match ended {
        Ended::Failed(..) => "Failed".into(),
        Ended::Refused(Cause::HandlerFailed(fault)) => format!("HandlerFailed({:?})", fault.kind),
        Ended::Refused(Cause::Busy(scarce)) => format!("Busy({scarce:?})"),
        Ended::Refused(cause) => format!("{cause:?}"),
        ended => format!("{ended:?}"),
    };
    let named = endings.iter().find(|name| full.starts_with(name.trim_end_matches(')')));
    named.map_or(full.clone(), |&name| name.into())
}

/// A connection that has just been closed, and what is said of it.
struct Case<'a> {
    world: &'a World,
    plan: &'a ClientPlan,
    facts: &'a Facts,
    accepted: Instant,
    /// When the client had its end, and when the connection was closed.
    ended: Instant,
    closed: Instant,
    id: u32,
}

pub(super) fn check(
    world: &World,
    id: u32,
    facts: &mut Facts,
    exchange: &Exchange,
) -> Vec<&'static str> {
    facts.exchanges += 1;
    let told = exchange.clone();
    // All worlds of the process count in one line: a seed would tell another story each time.
    #[cfg(feature = "tracing")]
    let told = crate::Exchange { id: None, ..told };
    facts.ending = format!("{told:?}");
    let (Some(accepted), Some(ended), Some(closed)) = (facts.accepted, facts.ended(), facts.closed)
    else {
        return vec!["told before it was closed"];
    };
    let plan = &world.plan.clients[id as usize];
    let case = Case { world, plan, facts, accepted, ended, closed, id };
    let demands = [
        (exchange.peer == facts.peer, "another peer is named"),
        // The byte that tells a cut reply is counted, though only its being there was looked at.
        (
            exchange.bytes_in == facts.seen
                || matches!(exchange.ended, Ended::ReplyNotTaken | Ended::Cut(_))
                    && exchange.bytes_in == facts.seen + 1,
            "bytes in are not what was read",
        ),
        (exchange.bytes_out == facts.written.len(), "bytes out are not what was written"),
        (exchange.took == closed - accepted, "it did not take that long"),
        (case.is_in_time(), "a deadline was passed"),
        (case.is_justified(&exchange.ended), "it should not have ended so"),
        (case.is_prompt(&exchange.ended), "the end was not told at once"),
        (case.is_told(&exchange.ended), "the client got something else"),
        (case.is_lingered(&exchange.ended), "not lingered while input follows, or for too long"),
    ];
    demands.into_iter().filter_map(|(holds, what)| (!holds).then_some(what)).collect()
}

impl Case<'_> {
    /// Then, or when the drain was over before.
    fn or_drained(&self, then: Instant) -> Instant {
        self.drained().map_or(then, |drained| then.min(drained.max(self.accepted)))
    }

    fn drained(&self) -> Option<Instant> {
        self.world.drained(self.facts)
    }

    fn is_drained(&self) -> bool {
        self.drained().is_some_and(|drained| self.ended >= drained)
    }

    /// When the read deadline passes.
    fn read_late(&self) -> Instant {
        self.accepted + self.world.plan.limits.read
    }

    /// When the handler deadline passes. That it is 0 leaves no time to ask the handler.
    fn handler_late(&self) -> Option<Instant> {
        self.facts.asked.map(|(asked, _)| asked + self.world.plan.limits.handler)
    }

    /// When the write began. There is room for a first byte; and if nothing was written, the
    /// latest moment.
    fn writes(&self) -> Instant {
        let late = self.handler_late().unwrap_or(self.read_late());
        self.facts.first_written().or(self.facts.answered).map_or(late, |begun| begun.min(late))
    }

    /// When the client took something for the last time, or could have begun to: from then on it is given the
    /// write deadline once more.
    fn last_written(&self) -> Instant {
        self.facts.last_written().unwrap_or(self.writes())
    }

    fn is_in_time(&self) -> bool {
        let limits = &self.world.plan.limits;
        let asked = self.facts.asked.is_none_or(|(at, _)| at <= self.or_drained(self.read_late()));
        let ended = self.ended <= self.or_drained(self.last_written() + limits.write);
        asked && ended && self.closed <= self.or_drained(self.ended + limits.linger)
    }

    /// Whether it was turned away at the door.
    fn is_turned_away(&self, cause: &Cause) -> bool {
        use Scarce::{Descriptors, Memory, PerUser, Places};
        match cause {
            Cause::NotAllowed | Cause::Busy(Places { .. } | PerUser { .. } | Descriptors) => true,
            Cause::Busy(Memory { .. }) => false,
            _ => self.drained().is_some_and(|drained| self.accepted >= drained),
        }
    }

    fn is_justified(&self, ended: &Ended) -> bool {
        let Self { world, plan, facts, .. } = self;
        let limits = &world.plan.limits;
        match ended {
            Ended::Answered => facts.answered.is_some() && !self.went_on(),
            Ended::Cut(_) => false,
            Ended::NoRequest => facts.sent.is_empty() && facts.is_left(),
            Ended::ClientGone(_) => facts.is_left(),
            Ended::ReplyNotTaken => {
                let late =
                    facts.answered.map(|_| self.or_drained(self.last_written() + limits.write));
                let full = facts.written.len() - facts.taken == facts.room;
                // A byte taken in the last moment may come too late to be seen.
                let just_taken = facts.last_taken == Some(self.ended);
                let no_time = facts.answered == Some(self.ended);
                // A client that writes on before it reads would wait for us as we wait for it.
                // But for the byte by which the cut is told.
                let input_taken = facts.sent.len() <= facts.seen + 1 || self.has_just_sent();
                late == Some(self.ended) && (just_taken || no_time || full && input_taken)
            }
            Ended::Failed(..) => matches!(plan.trap, Some((_, Trap::Fail))) && facts.trap.is_none(),
            Ended::Refused(cause) => self.is_caused(cause),
        }
    }

    /// Whether more of the request surely came after it had been taken for whole, and before the answer.
    fn went_on(&self) -> bool {
        let (Some((asked, length)), Some(answered)) = (self.facts.asked, self.facts.answered)
        else {
            return false;
        };
        let more = |&&(at, sent): &&(Instant, usize)| at > asked && at < answered && sent > length;
        // An end that the server has seen was the request's.
        let open = self.facts.client == Side::Open;
        open && self.world.plan.until == Until::Dry && self.facts.arrivals.iter().any(|a| more(&a))
    }

    fn has_just_sent(&self) -> bool {
        self.facts.arrivals.last().is_some_and(|&(at, _)| at + READER_CHECK >= self.ended)
    }

    fn is_caused(&self, cause: &Cause) -> bool {
        let Self { world, plan, facts, .. } = self;
        let limits = &world.plan.limits;
        let unasked = facts.asked.is_none();
        match cause {
            Cause::RequestTooLong { .. } => facts.seen > limits.max_request && unasked,
            Cause::RequestLate { .. } => {
                unasked && !framing::is_whole_before(world, facts, self.read_late())
            }
            Cause::HandlerLate { .. } => {
                limits.handler.is_zero()
                    || plan.deed == Deed::Never
                    || plan.thinks >= limits.handler
            }
            Cause::HandlerFailed(fault) => match &fault.kind {
                FaultKind::Told(why) => plan.deed == Deed::Tell && *why == told(self.id),
                FaultKind::Failed => plan.deed == Deed::Fail,
                FaultKind::Panicked(why) => plan.deed == Deed::Panic && why == "oh",
            },
            Cause::Stopping => self.is_drained(),
            Cause::RequestWentOn => {
                world.plan.until == Until::Dry
                    && facts.asked.is_some_and(|(_, length)| facts.sent.len() > length)
            }
            Cause::Malformed(_) | Cause::DescriptorPassed => false,
            Cause::NotAllowed => !may_ask(world, facts.peer),
            Cause::Busy(Scarce::Places { .. }) => {
                facts.queue_busy_since.is_some_and(|since| self.accepted >= since + limits.queue)
            }
            Cause::Busy(Scarce::Descriptors) => world.in_trouble(),
            Cause::Busy(Scarce::Kernel) => {
                matches!(plan.trap, Some((_, Trap::Fail))) && facts.trap.is_none() && unasked
            }
            // These were looked at while it was decided.
            Cause::Busy(
                Scarce::PerUser { .. } | Scarce::Memory { .. } | Scarce::Handlers { .. },
            ) => unasked,
        }
    }

    /// When nothing holds it up, the client has its end in the moment in which that is decided.
    fn is_prompt(&self, ended: &Ended) -> bool {
        let decided = match ended {
            Ended::Answered | Ended::Refused(Cause::HandlerFailed(_)) => self.facts.answered,
            Ended::Refused(cause) if self.is_turned_away(cause) => Some(self.accepted),
            Ended::Refused(Cause::RequestLate { .. }) => Some(self.read_late()),
            Ended::Refused(Cause::HandlerLate { .. }) => self.handler_late(),
            Ended::Refused(Cause::Stopping) => self.drained(),
            _ => None,
        };
        let begun = self.facts.first_written().unwrap_or(self.ended);
        let at_once = begun == self.ended || self.facts.written.len() >= self.facts.room;
        let (answers, left) = (decided.is_some(), self.facts.is_left());
        decided.is_none_or(|decided| begun == decided) && (at_once || left || !answers)
    }

    /// The whole of it; or its beginning, if the client could not, or did not, take more.
    fn is_told(&self, ended: &Ended) -> bool {
        let Self { facts, world, .. } = self;
        let text = match ended {
            Ended::Refused(cause) => world.plan.told(cause).unwrap_or_default(),
            _ => match self.plan.deed {
                Deed::Reply(size) if facts.asked.is_some() => reply(self.id, size),
                _ => Vec::new(),
            },
        };
        let failed = matches!(self.plan.trap, Some((_, Trap::Fail))) && facts.trap.is_none();
        let may_be_cut = match ended {
            Ended::Answered | Ended::NoRequest | Ended::Cut(_) => false,
            Ended::Refused(cause) if self.is_turned_away(cause) => {
                // A client that was let in as the drain was over had the last try as well.
                facts.is_left() || failed || facts.written.len() >= facts.room
            }
            Ended::Refused(_) => {
                let late =
                    self.ended == self.or_drained(self.last_written() + world.plan.limits.write);
                facts.is_left() || failed || late
            }
            Ended::ReplyNotTaken => facts.written.len() < text.len(),
            Ended::ClientGone(_) | Ended::Failed(..) => true,
        };
        facts.written == text || may_be_cut && text.starts_with(&facts.written)
    }

    /// A client that may still be sending can do so, until the linger is over.
    fn is_lingered(&self, ended: &Ended) -> bool {
        let Self { facts, world, .. } = self;
        let served = match ended {
            Ended::Answered => true,
            // A client that does not even read why has no use for more time.
            Ended::Refused(cause) => {
                let words = self.world.plan.told(cause).unwrap_or_default();
                !self.is_turned_away(cause) && facts.written.len() == words.len()
            }
            _ => false,
        };
        let sprung = self.plan.trap.is_some() && facts.trap.is_none();
        if !served || facts.client != Side::Open || sprung {
            return true;
        }
        if facts.half_closed.is_some() {
            return self.closed == self.or_drained(self.ended + world.plan.limits.linger);
        }
        // A handler that had no time may not even have been asked.
        let no_time = world.plan.limits.handler.is_zero() || self.is_drained();
        // If room was made for a client that did not read, the byte that would have told a cut is left.
        let waited = facts.answered.is_some_and(|at| at < self.ended);
        let left = usize::from(waited || facts.written.len() > facts.room);
        (facts.asked.is_some() || no_time) && facts.thrown_away <= left
    }
}
