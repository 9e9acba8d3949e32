//! Until when a look may last: the user is not to be kept by the processes that are looked at.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    /// How long it was when it was set.
    whole: Duration,
}

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        let now = Instant::now();
        // More than the clock can show is for ever, or a day.
        let whole = match now.checked_add(time) {
            Some(_) => time,
            None => Duration::from_secs(86_400),
        };
        Self { at: now + whole, whole }
    }

    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(crate) fn whole(self) -> Duration {
        self.whole
    }

    pub(crate) fn is_over(self) -> bool {
        self.left().is_zero()
    }
}
