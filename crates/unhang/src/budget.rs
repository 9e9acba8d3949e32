//! A bound on the bytes that all requests of a server hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What may be held, and what is.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) most: usize,
    held: Arc<AtomicUsize>,
}

/// What one connection holds of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// `held` counts what is held, for others to read.
    pub(crate) fn new(most: usize, held: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self { most, held })
    }

    /// Another for the same bytes, so that not all threads count in one place who uses it.
    pub(crate) fn copy(&self) -> Arc<Self> {
        Self::new(self.most, Arc::clone(&self.held))
    }

    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Share {
    /// Makes the share so many bytes large; false, and nothing changed, where that is too much.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let within = |held: usize| held.checked_add(more).filter(|&sum| sum <= self.budget.most);
        let grown = self.budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        if grown.is_ok() {
            self.bytes += more;
        }
        grown.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_together_and_given_back() {
        let budget = Budget::new(10, Arc::default());
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.grow_to(4) && other.grow_to(6));
        assert!(!one.grow_to(5));
        assert!(one.grow_to(4) && one.grow_to(2), "what it has already is not counted twice");
        drop(other);
        assert!(one.grow_to(10));
        drop(one);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }
}
