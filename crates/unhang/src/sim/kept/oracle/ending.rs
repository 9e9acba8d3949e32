//! How connections end, and that none does without a reason.

use std::time::{Duration, Instant};

use super::Case;
use crate::event::Ended;
use crate::limits::WORKER_CHECK;
use crate::sim::kept::plan::Form;
use crate::sim::kept::speech::Answer;
use crate::sim::oracle::ending::name_of;

/// What must come about: how exchanges end, and then how connections do.
pub(in crate::sim::kept) const ENDINGS: &[&str] = &[
    "Answered",
    "NoRequest",
    "ClientGone(Writing)",
    "ReplyNotTaken",
    "Cut",
    "RequestTooLong",
    "RequestLate",
    "HandlerLate",
    "HandlerFailed(Told)",
    "HandlerFailed(Failed)",
    "HandlerFailed(Panicked)",
    "Malformed",
    "Stopping",
    "Busy(Places)",
    "Busy(Memory)",
    "Busy(Handlers)",
    "Busy(Descriptors)",
    "ended: idle",
    "ended: drained",
    "ended: for its descriptor",
    "ended: by the client",
    "ended: over requests that came just before",
];

pub(super) fn name(ended: &Ended) -> String {
    name_of(ended, ENDINGS)
}

impl Case<'_> {
    /// A client that waits is ended when it has been idle for so long, to the millisecond; or because the
    /// server stops, or needs its descriptor.
    pub(super) fn ended_for_a_reason(
        &self,
        answers: &[Answer],
        accepted: Instant,
        closed: Instant,
    ) -> Option<String> {
        let (world, facts, told) = (self.world, self.facts, &self.client.told);
        if facts.shut_over > 0 {
            world.counts("ended: over requests that came just before");
        }
        let closes =
            |at: usize| self.plan.requests.get(at).is_some_and(|of| of.form == Form::Close);
        let client_ended = facts.finished.is_some_and(|finished| finished <= closed);
        if client_ended || self.is_cut() || self.is_fatal() || (0..told.len()).any(closes) {
            world.counts("ended: by the client");
            return None;
        }
        let begun = world.servers[facts.server].stop.begun();
        // It may have begun a nanosecond late, see `Stop`.
        if begun.is_some_and(|begun| begun <= closed + Duration::from_nanos(1)) {
            world.counts("ended: drained");
            let waits = facts.closed > self.drained();
            return waits.then(|| "it was kept beyond the end of the drain".into());
        }
        if answers.last().is_some_and(|answer| answer.is_last) && facts.shut_over == 0 {
            return Some("the server said that this is the last answer, and had no reason".into());
        }
        let rested = told.last().map_or(accepted, |&(at, _)| at);
        let idle = world.plan.limits.idle.unwrap_or(Duration::MAX);
        let due = rested.checked_add(idle.min(super::super::FOR_EVER))?;
        let since = closed - world.begun;
        let starved = world
            .plan
            .trouble
            .is_some_and(|trouble| trouble.begins <= since && since <= trouble.ends + WORKER_CHECK);
        if closed >= due || facts.shut_over > 0 {
            world.counts("ended: idle");
            // What came just before is answered first.
            let late = closed > due && facts.shut_over == 0 && facts.sent.len() <= self.answered();
            return late
                .then(|| format!("it was ended {:?} after its idle deadline", closed - due));
        }
        if starved {
            world.counts("ended: for its descriptor");
            return None;
        }
        Some(format!("it was ended {:?} before its idle deadline", due - closed))
    }

    /// So many bytes are of requests that are over.
    fn answered(&self) -> usize {
        let told = self.client.told.len().min(self.plan.ends.len());
        told.checked_sub(1).map_or(0, |last| self.plan.ends[last])
    }
}
