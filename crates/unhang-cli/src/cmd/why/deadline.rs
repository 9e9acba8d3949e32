//! Until when a look may last: the user is not to be kept by the processes that are looked at.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        let now = Instant::now();
        // More than the clock can show is for ever, or a day.
        Self(now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(86_400)))
    }

    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub(crate) fn is_over(self) -> bool {
        self.left().is_zero()
    }
}
