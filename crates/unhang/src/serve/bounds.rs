//! Bounds that all requests of a server share: the bytes that they hold, and the handlers that run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::serve::apart::Apart;

/// What all requests may hold together and do hold, and how many handlers may run and do. Each worker has
/// one of its own around the same counters: each request keeps an `Arc` of it, and the workers need not wait
/// for one another to count those.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) most_held: usize,
    held: Arc<AtomicUsize>,
    pub(crate) most_running: usize,
    running: Arc<AtomicUsize>,
}

/// The bytes that one request holds of them, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share {
    bounds: Option<Arc<Apart<Bounds>>>,
    bytes: usize,
}

/// A handler that runs. It ends when the handler is gone and its request as well: a handler that has left
/// its work to another thread (`spawn_blocking`) and was dropped at its deadline still works.
#[derive(Debug)]
pub(crate) struct Running(Share);

impl Bounds {
    /// `held` and `running` count what is held and what runs, for gauges to read.
    pub(crate) fn new(
        (most_held, held): (usize, Arc<AtomicUsize>),
        (most_running, running): (usize, Arc<AtomicUsize>),
    ) -> Arc<Apart<Self>> {
        Arc::new(Apart(Self { most_held, held, most_running, running }))
    }

    /// One more handler, if there may be. It holds the share of its request.
    pub(crate) fn begin(of: &Arc<Apart<Self>>, mut share: Share) -> Result<Running, Share> {
        let more = |running: usize| (running < of.0.most_running).then_some(running + 1);
        if of.0.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            return Err(share);
        }
        share.bounds.get_or_insert_with(|| Arc::clone(of));
        Ok(Running(share))
    }
}

impl Share {
    /// Makes the share so many bytes large; false, and nothing changed, if that is too much.
    pub(crate) fn grow_to(&mut self, bytes: usize, bounds: &Arc<Apart<Bounds>>) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let within = |held: usize| held.checked_add(more).filter(|&sum| sum <= bounds.0.most_held);
        let grown = bounds.0.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        if grown.is_ok() {
            self.bounds.get_or_insert_with(|| Arc::clone(bounds));
            self.bytes += more;
        }
        grown.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(bounds) = self.bounds.as_ref().filter(|_| self.bytes > 0) {
            bounds.0.held.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(bounds) = &self.0.bounds {
            bounds.0.running.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(Apart(bounds): &Apart<Bounds>) -> (usize, usize) {
        (bounds.held.load(Ordering::Relaxed), bounds.running.load(Ordering::Relaxed))
    }

    #[test]
    fn shares_are_bounded_together_and_given_back() {
        let bounds = Bounds::new((10, Arc::default()), (1, Arc::default()));
        let (mut one, mut other) = (Share::default(), Share::default());
        assert!(one.grow_to(4, &bounds) && other.grow_to(6, &bounds));
        assert!(!one.grow_to(5, &bounds));
        assert!(one.grow_to(4, &bounds) && one.grow_to(2, &bounds), "it has that already");
        drop(other);
        assert!(one.grow_to(10, &bounds));
        drop(one);
        assert_eq!(held(&bounds), (0, 0));
    }

    #[test]
    fn handlers_are_bounded_and_hold_their_requests_share() {
        let (bytes, running) = (Arc::default(), Arc::default());
        let bounds = || Bounds::new((10, Arc::clone(&bytes)), (1, Arc::clone(&running)));
        let (bounds, of_another_worker) = (bounds(), bounds());
        let mut share = Share::default();
        assert!(share.grow_to(4, &bounds));
        let first = Bounds::begin(&bounds, share).unwrap();
        assert!(Bounds::begin(&of_another_worker, Share::default()).is_err());
        assert_eq!(held(&bounds), (4, 1));
        drop(first);
        assert_eq!(held(&of_another_worker), (0, 0));
        drop(Bounds::begin(&bounds, Share::default()).unwrap());
        assert_eq!(held(&bounds), (0, 0));
    }
}
