//! What a server holds just now, for whoever watches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reads a server's gauges, from any thread and after it has ended.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    connections: Arc<AtomicUsize>,
    request_bytes: Arc<AtomicUsize>,
}

/// Counts one connection until it is dropped.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Gauges {
    /// Connections under way.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes that the requests under way hold together.
    pub fn request_bytes(&self) -> usize {
        self.request_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn connection(&self) -> Counted {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.connections))
    }

    pub(crate) fn held(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.request_bytes)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
