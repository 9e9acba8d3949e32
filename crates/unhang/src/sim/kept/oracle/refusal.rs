//! Whether a client is told a reason that holds.

use std::time::Instant;

use super::Case;
use crate::event::{Cause, Scarce};
use crate::handler::FaultKind;
use crate::sim::kept::handler::told;
use crate::sim::kept::plan::Deed;
use crate::sim::socket::{Side, Trap};

impl Case<'_> {
    /// Whether that was said to a client at the door.
    pub(super) fn is_turned_away(&self, cause: &Cause) -> bool {
        let drained = self.drained().zip(self.facts.accepted);
        match cause {
            Cause::Busy(Scarce::Places { .. } | Scarce::Descriptors) => {
                self.client.asked.is_empty()
            }
            Cause::Busy(Scarce::Kernel) => true,
            _ => drained.is_some_and(|(drained, accepted)| accepted >= drained),
        }
    }

    /// Whether request `at` could be told so, then.
    pub(super) fn is_caused(&self, at: usize, cause: &Cause, when: Instant) -> bool {
        let (limits, plan) = (&self.world.plan.limits, self.plan.requests.get(at));
        let came = self.plan.ends.get(at).and_then(|&end| self.came(end));
        match cause {
            Cause::RequestTooLong { .. } => {
                plan.is_some_and(|plan| plan.body.len() > limits.max_request)
            }
            Cause::RequestLate { .. } => self
                .read_late(at)
                .is_some_and(|late| when >= late && came.is_none_or(|came| came >= late)),
            Cause::HandlerLate { .. } => plan.is_some_and(|plan| {
                let pause =
                    if let Deed::Stream(.., pause, _) = plan.deed { pause } else { plan.thinks };
                // One that blocks is not back before those that have begun to block meanwhile: all are on
                // the simulation's one stack.
                let pause = match plan.deed {
                    Deed::Block(_) => self.world.plan.blocked(),
                    _ => pause,
                };
                plan.deed == Deed::Never || plan.thinks.max(pause) >= limits.handler
            }),
            Cause::HandlerFailed(fault) => {
                plan.is_some_and(|plan| match (&fault.kind, plan.deed) {
                    (FaultKind::Told(why), Deed::Tell) => *why == told(self.id, at),
                    (FaultKind::Told(why), Deed::Delimiter) => why.contains("before its end"),
                    (FaultKind::Told(why), Deed::Stream(.., false)) => why.contains("unfinished"),
                    (FaultKind::Failed, Deed::Fail) | (FaultKind::Panicked(_), Deed::Panic) => true,
                    _ => false,
                })
            }
            // The client has ended in the midst of its request, or was ended there.
            Cause::Malformed(_) => {
                let ended = self.facts.client != Side::Open || self.facts.input_shut;
                ended && came.is_none()
            }
            Cause::Stopping => self.drained().is_some_and(|drained| drained <= when),
            Cause::Busy(Scarce::Places { most }) => *most < self.world.plan.clients.len(),
            Cause::Busy(Scarce::Memory { most }) => *most == limits.max_held,
            Cause::Busy(Scarce::Handlers { most }) => *most == limits.most_handlers(),
            Cause::Busy(Scarce::Descriptors) => at == 0 && self.world.plan.trouble.is_some(),
            Cause::Busy(Scarce::Kernel) => {
                matches!(self.plan.trap, Some((_, Trap::Fail))) && self.facts.trap.is_none()
            }
            Cause::Busy(Scarce::PerUser { .. })
            | Cause::NotAllowed
            | Cause::RequestWentOn
            | Cause::DescriptorPassed => false,
        }
    }

    /// When the request has taken too long to come: from its first byte on, and not before its turn.
    fn read_late(&self, at: usize) -> Option<Instant> {
        let begin = at.checked_sub(1).map_or(0, |before| self.plan.ends[before]);
        let first = self.came(begin + 1)?.max(self.facts.accepted?);
        Some(first + self.world.plan.limits.read)
    }
}
