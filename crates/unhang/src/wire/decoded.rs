//! What a wire makes of its input.

use std::ops::Range;

use super::refusal::Kind;

/// What the last read showed about the receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Bytes, and there may be more at once.
    More,
    /// Bytes, and then nothing: the queue is dry for now.
    Dry,
    /// Still nothing after the settle time.
    Settled,
    /// The client has half-closed or closed: nothing will follow.
    End,
}

/// What the input has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A whole request: `body` is where its body lies in the input, `used` how much of the input it
    /// took in all.
    Request { body: Range<usize>, used: usize },
    /// Read on.
    More,
    /// Read on, but only for a while: a pause ends the request.
    Settle(Patience),
    /// The client is done and has asked nothing more.
    Over,
}

/// How long a pause has to be before it ends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// One call may have written these bytes, which Linux hands over in one piece.
    Short,
    /// The kernel surely handed these bytes over in several pieces. The client may lie between two of them,
    /// and a busy machine may let it lie there for long.
    Long,
}

/// A request that cannot be read: why, and what that means for the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    /// What was expected and what came, for the client and the log.
    pub(crate) reason: String,
    /// How much of the input is done with. The next request begins after it, if [`stays_open`](super::Wire::stays_open)
    /// says so after [`refusal`](super::Wire::refusal).
    pub(crate) used: usize,
}

impl Violation {
    pub(super) fn too_long(most: usize, used: usize) -> Self {
        let reason = format!("the request is longer than {most} bytes");
        Self { kind: Kind::TooLong, reason, used }
    }
}
