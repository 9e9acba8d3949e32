//! Bounds that all requests of a server share: the bytes that they hold, and the handlers that run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What may be held, and what is.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) most: usize,
    held: Arc<AtomicUsize>,
}

/// The bytes that one request holds of it, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share {
    budget: Option<Arc<Budget>>,
    bytes: usize,
}

/// How many handlers may run, and do.
#[derive(Debug)]
pub(crate) struct Handlers {
    pub(crate) most: usize,
    running: Arc<AtomicUsize>,
}

/// One of them. It ends when the handler is gone and its request as well: a handler that has left its
/// work to another thread (`spawn_blocking`) and was dropped at its deadline still works.
#[derive(Debug)]
pub(crate) struct Running {
    handlers: Arc<Handlers>,
    _share: Share,
}

impl Budget {
    /// `held` counts what is held, for gauges to read.
    pub(crate) fn new(most: usize, held: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self { most, held })
    }
}

impl Share {
    /// Makes the share so many bytes large; false, and nothing changed, if that is too much.
    pub(crate) fn grow_to(&mut self, bytes: usize, budget: &Arc<Budget>) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let within = |held: usize| held.checked_add(more).filter(|&sum| sum <= budget.most);
        let grown = budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        if grown.is_ok() {
            self.budget.get_or_insert_with(|| Arc::clone(budget));
            self.bytes += more;
        }
        grown.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Handlers {
    /// `running` counts them, for gauges to read.
    pub(crate) fn new(most: usize, running: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self { most, running })
    }

    /// One more, if there may be. It holds the share of its request.
    pub(crate) fn begin(self: &Arc<Self>, share: Share) -> Result<Running, Share> {
        let more = |running: usize| (running < self.most).then_some(running + 1);
        match self.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Running { handlers: Arc::clone(self), _share: share }),
            Err(_) => Err(share),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handlers.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_together_and_given_back() {
        let budget = Budget::new(10, Arc::default());
        let (mut one, mut other) = (Share::default(), Share::default());
        assert!(one.grow_to(4, &budget) && other.grow_to(6, &budget));
        assert!(!one.grow_to(5, &budget));
        assert!(one.grow_to(4, &budget) && one.grow_to(2, &budget), "it has that already");
        drop(other);
        assert!(one.grow_to(10, &budget));
        drop(one);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn handlers_are_bounded_and_hold_their_requests_share() {
        let (budget, handlers) =
            (Budget::new(10, Arc::default()), Handlers::new(1, Arc::default()));
        let mut share = Share::default();
        assert!(share.grow_to(4, &budget));
        let running = handlers.begin(share).unwrap();
        assert!(
            handlers.begin(Share::default()).is_err()
                && handlers.running.load(Ordering::Relaxed) == 1
        );
        assert_eq!(budget.held.load(Ordering::Relaxed), 4);
        drop(running);
        assert_eq!(
            (budget.held.load(Ordering::Relaxed), handlers.running.load(Ordering::Relaxed)),
            (0, 0)
        );
    }
}
