//! How a call went, and whether it may have run.

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The bytes are the answer.
    Answered,
    /// The worker has failed; the bytes are its reason, and this its word for counters.
    Failed(String),
    /// No connection to any node. It did not run.
    NotConnected,
    /// The request is larger than NATS takes. It did not run.
    TooLarge,
    /// No worker is there. It did not run.
    NoWorker,
    /// All places of all workers that were asked are taken. It did not run.
    Busy,
    /// Every worker that was asked said that it came after its time. It did not run.
    Late,
    /// The workers that were asked stop. It did not run.
    Stopping,
    /// No worker said that it is free. It did not run.
    NotOffered,
    /// No worker said that it has it. It may have run.
    NotAccepted,
    /// The worker that had it is gone, or has lost it. It may have run.
    Lost,
    /// The worker that has it does not answer. It may have run, and may run on.
    Silent,
    /// The connection to the node was lost. It may have run.
    ConnectionLost,
    /// The worker was at it until the deadline. It may run on.
    Deadline,
}

impl Outcome {
    /// It is certain that it has not run.
    pub(super) fn has_not_run(&self) -> bool {
        use Outcome::{Busy, Late, NoWorker, NotConnected, NotOffered, Stopping, TooLarge};
        matches!(self, NotConnected | TooLarge | NoWorker | Busy | Late | Stopping | NotOffered)
    }

    /// One stable word, for logs and counters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed(_) => "failed",
            Self::NotConnected => "not_connected",
            Self::TooLarge => "too_large",
            Self::NoWorker => "no_worker",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Stopping => "stopping",
            Self::NotOffered => "not_offered",
            Self::NotAccepted => "not_accepted",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::ConnectionLost => "connection_lost",
            Self::Deadline => "deadline",
        }
    }
}
