//! An id for each exchange, which ties its event to the span that its handler runs in.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Span;

/// Of all servers of the process: a span's id is looked up in one log.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn span(id: u64) -> Span {
    tracing::info_span!("exchange", id)
}
