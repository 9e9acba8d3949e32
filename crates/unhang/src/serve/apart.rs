//! What each worker has of its own, apart from the others'.

/// On cache lines of its own (128 bytes: processors fetch two lines at a time), with the counters of an `Arc`
/// around it: a thread that writes to a line makes all others wait for it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);
