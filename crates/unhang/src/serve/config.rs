//! What every connection of a server keeps to, and the end of the server.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::event::Cause;
use crate::handler::Reply;
use crate::limits::Limits;
use crate::serve::apart::Apart;
use crate::serve::bounds::Bounds;
use crate::wire::Wire;

/// What every connection keeps to.
pub(crate) struct Config {
    pub(crate) limits: Limits,
    /// How a new connection is spoken.
    pub(crate) wire: Wire,
    /// The service's own words for a client that gets no answer.
    pub(crate) refusal: Option<Refusal>,
    /// What is known of a call on another machine, by its number, within that time.
    pub(crate) calls: Option<Calls>,
    /// Whether every exchange names the client's process, and not only one without an answer.
    pub(crate) names_peers: bool,
    /// Whether there is an observer. If not, most exchanges need not be put into words.
    pub(crate) is_observed: bool,
    /// What all requests may hold together, and how many handlers may run: one for each worker, at least one.
    pub(crate) bounds: Vec<Arc<Apart<Bounds>>>,
    pub(crate) stop: Arc<Stop>,
}

impl Config {
    /// Of the connections of this worker.
    pub(crate) fn bounds(&self, worker: u8) -> &Arc<Apart<Bounds>> {
        self.bounds.get(usize::from(worker)).unwrap_or(&self.bounds[0])
    }

    /// How long a connection may be kept without a request.
    pub(crate) fn idle(&self) -> Duration {
        self.limits.idle.unwrap_or_else(|| match self.wire {
            Wire::OneShot(_) => self.limits.read,
            Wire::Lines(_) => Duration::from_secs(60 * 60),
            Wire::Http(_) => Duration::from_secs(120),
            Wire::Goridge(_) => Duration::MAX,
        })
    }

    /// When a connection that rests ends, once the server stops. A client whose wire can announce the
    /// end has a while to ask once more and hear of it.
    // Inlined, it is computed for each step, and needed for none but the last.
    #[inline(never)]
    pub(crate) fn rest_ends(&self) -> Option<Instant> {
        let begun = self.stop.begun()?;
        let grace = if self.wire.announces_end() { self.limits.drain / 4 } else { Duration::ZERO };
        Some(later(begun, grace))
    }
}

/// `None` closes without a word.
pub(crate) type Refusal = Box<dyn Fn(&Cause) -> Option<Reply> + Send + Sync>;

pub(crate) type Calls = Box<dyn Fn(u32, Duration) -> Option<String> + Send + Sync>;

/// The end of a server, as its connections see it: a moment by which they must be done.
pub(crate) struct Stop {
    base: Instant,
    /// In nanoseconds from `base`; 0 until a stop has begun.
    begun: AtomicU64,
    end: AtomicU64,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Stop {
    pub(crate) fn new(base: Instant) -> Arc<Self> {
        let (begun, end) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { base, begun, end, wake: OnceLock::new() })
    }

    /// Calls `wake` at each [`begin`](Self::begin) from now on.
    pub(crate) fn wakes(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// Begins a drain that is over after `within`; an earlier end already set stays.
    pub(crate) fn begin(&self, now: Instant, within: Duration) {
        let (begun, end) = (self.stamp(now), self.stamp(later(now, within)));
        let _ = self.begun.compare_exchange(0, begun, Ordering::SeqCst, Ordering::SeqCst);
        let sooner = |at: u64| (at == 0 || end < at).then_some(end);
        let _ = self.end.fetch_update(Ordering::SeqCst, Ordering::SeqCst, sooner);
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// When the drain has begun.
    pub(crate) fn begun(&self) -> Option<Instant> {
        self.moment(&self.begun)
    }

    /// When the drain is over, as far as is known now.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.moment(&self.end)
    }

    /// Whether the drain is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.end().is_some_and(|end| end <= now)
    }

    /// Never 0, which says that there is no such moment.
    fn stamp(&self, at: Instant) -> u64 {
        u64::try_from((at - self.base).as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    fn moment(&self, at: &AtomicU64) -> Option<Instant> {
        match at.load(Ordering::SeqCst) {
            0 => None,
            nanoseconds => Some(self.base + Duration::from_nanos(nanoseconds)),
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("begun", &self.begun()).field("end", &self.end()).finish()
    }
}

/// That much later than then. A duration that no clock can hold counts as thirty years.
// Inlined, all deadlines that a step may set are computed before it begins: 400 instructions for each step.
#[inline(never)]
pub(crate) fn later(then: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    then + duration.min(FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_stops_the_earliest_end_counts_and_the_first_begin() {
        let now = Instant::now();
        let stop = Stop::new(now);
        assert!(stop.begun().is_none() && !stop.is_over(now));
        stop.begin(now, Duration::from_secs(8));
        stop.begin(now + Duration::from_secs(1), Duration::from_secs(2));
        stop.begin(now + Duration::from_secs(2), Duration::MAX);
        assert_eq!(stop.end(), Some(now + Duration::from_secs(3)));
        assert!(stop.begun().is_some_and(|begun| begun < now + Duration::from_secs(1)));
        assert!(stop.is_over(now + Duration::from_secs(3)));
    }
}
