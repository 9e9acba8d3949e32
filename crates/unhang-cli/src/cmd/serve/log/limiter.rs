//! Lets no single user fill the log: of what a user that gets nothing can do again and again, one line is
//! written at once, and then one line a second with a count.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use unhang::{Cause, Ended, Event, Scarce};

/// As often as a person can read it; a refused client can come some ten thousand times in it.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// As the lines themselves name it.
    pub(super) what: &'static str,
    pub(super) uid: Option<u32>,
}

/// The lines of the current second, by their kind.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    /// How many came after the first.
    more: Mutex<HashMap<Kind, u64>>,
    /// For [`Limiter::has_counts`].
    news: Notify,
}

impl Kind {
    /// `None` for what is never held back.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let (what, uid) = match event {
            Event::Exchange(exchange) => match &exchange.ended {
                Ended::Refused(
                    cause @ (Cause::NotAllowed | Cause::Busy(Scarce::PerUser { .. })),
                ) => (cause.code(), exchange.peer.map(|peer| peer.uid)),
                _ => return None,
            },
            Event::NotReplaced { by, .. } => ("not_replaced", by.map(|by| by.uid)),
            _ => return None,
        };
        Some(Self { what, uid })
    }
}

impl Limiter {
    /// Whether a line of this kind is to be written now. If not it is counted.
    pub(super) fn admits(&self, kind: Kind) -> bool {
        let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = more.get_mut(&kind) {
            *count += 1;
            return false;
        }
        if more.is_empty() {
            self.news.notify_one();
        }
        more.insert(kind, 0);
        true
    }

    /// Waits until there is something to count.
    pub(super) async fn has_counts(&self) {
        self.news.notified().await;
    }

    /// Ends a second: gives what was counted in it, and `false` once nothing is counted any more.
    pub(super) fn take(&self) -> (Vec<(Kind, u64)>, bool) {
        let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        // A kind that still comes is only counted in the next second, too.
        more.retain(|_, count| *count > 0);
        let counts = more.iter_mut().map(|(kind, count)| (*kind, std::mem::take(count))).collect();
        (counts, !more.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Kind = Kind { what: "not_allowed", uid: Some(1000) };

    #[test]
    fn of_each_kind_and_user_the_first_line_is_written_and_the_others_are_counted() {
        let limiter = Limiter::default();
        assert!(limiter.admits(ALICE));
        assert!(!limiter.admits(ALICE) && !limiter.admits(ALICE));
        assert!(limiter.admits(Kind { uid: Some(1001), ..ALICE }));
        assert!(limiter.admits(Kind { what: "not_replaced", ..ALICE }));
        assert_eq!(limiter.take(), (vec![(ALICE, 2)], true));
    }

    #[test]
    fn what_goes_on_is_only_counted_and_after_a_quiet_second_is_written_again() {
        let limiter = Limiter::default();
        limiter.admits(ALICE);
        limiter.admits(ALICE);
        limiter.take();
        assert!(!limiter.admits(ALICE));
        assert_eq!(limiter.take(), (vec![(ALICE, 1)], true));
        assert_eq!(limiter.take(), (vec![], false));
        assert!(limiter.admits(ALICE));
    }
}
