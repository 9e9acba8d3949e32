//! What a server holds just now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::serve::admission::taken_and_lent;

/// Reads a server's gauges, from any thread and after it has ended.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    places: Arc<AtomicU64>,
    request_bytes: Arc<AtomicUsize>,
    handlers: Arc<AtomicUsize>,
    pulse: Arc<AtomicUsize>,
}

impl Gauges {
    /// Connections under way: each has one of the places, see
    /// [`Limits::max_connections`](crate::Limits::max_connections).
    pub fn connections(&self) -> usize {
        taken_and_lent(&self.places).0
    }

    /// Connections that are kept for a next request, and ask nothing just now.
    pub fn idle(&self) -> usize {
        taken_and_lent(&self.places).1
    }

    /// Bytes that the requests under way hold together.
    pub fn request_bytes(&self) -> usize {
        self.request_bytes.load(Ordering::Relaxed)
    }

    /// Handlers that run, those included whose clients were told that they are late, see
    /// [`Limits::max_handlers`](crate::Limits::max_handlers).
    pub fn handlers(&self) -> usize {
        self.handlers.load(Ordering::Relaxed)
    }

    /// Counts up at least once a second as long as the thread lives that keeps the deadlines.
    pub fn pulse(&self) -> usize {
        self.pulse.load(Ordering::Relaxed)
    }

    pub(crate) fn beat(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.pulse)
    }

    pub(crate) fn running(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.handlers)
    }

    pub(crate) fn places(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.places)
    }

    pub(crate) fn held(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.request_bytes)
    }
}
