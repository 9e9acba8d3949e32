//! How long a door waits for each of the things that a call may wait for.

use std::time::Duration;

/// How long a door waits for what. Each default has its reason.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// Until when a worker may start a call. Longer than a busy machine takes to get to it, shorter than
    /// a person notices.
    pub(crate) accept: Duration,
    /// How long after that its word may come: a worker says `accepted` 20 ms after its start, and the
    /// word has a way to go.
    pub(crate) grace: Duration,
    /// A worker that said `accepted` is asked after so much silence whether it lives.
    pub(crate) silence: Duration,
    /// How long that worker has for its answer. Three of these are missed by a process that is stopped.
    pub(crate) probe: Duration,
    /// How long a wary call waits for a worker to say that it is free before it asks another.
    pub(crate) seek: Duration,
    /// How long it asks at most. If two of three workers swallow messages, one call of 3,000 finds none.
    pub(crate) offer: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            accept: Duration::from_millis(250),
            grace: Duration::from_millis(100),
            silence: Duration::from_millis(100),
            probe: Duration::from_millis(130),
            seek: Duration::from_millis(50),
            offer: Duration::from_secs(1),
        }
    }
}
