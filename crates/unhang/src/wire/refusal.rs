//! Why a client gets no answer.

/// What a client is told that gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal<'a> {
    pub(crate) kind: Kind,
    pub(crate) reason: &'a str,
}

/// Why there is no answer, as far as a wire has different words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request breaks the protocol, or ends in its middle.
    Malformed,
    /// The line is no JSON, in a wire whose errors are JSON-RPC's.
    NoJson,
    /// A user that may not ask.
    NotAllowed,
    /// The request was not whole at its deadline.
    RequestLate,
    /// The request is longer than the limit.
    TooLong,
    /// What stands before the body is longer than the limit.
    HeadTooLong,
    /// An expectation that the server does not know.
    Expectation,
    /// A part of the protocol that the server does not speak.
    Unsupported,
    /// A version of the protocol that the server does not speak.
    Version,
    /// The handler failed or panicked, or gave a reply that the wire cannot say.
    HandlerFailed,
    /// The handler was still running at its deadline.
    HandlerLate,
    /// The server has not enough of something.
    Busy,
    /// The server is stopping.
    Stopping,
}

impl Kind {
    /// Whether the next request can still be found in the input.
    pub(super) fn leaves_the_next(self) -> bool {
        match self {
            Self::NoJson
            | Self::NotAllowed
            | Self::HandlerFailed
            | Self::HandlerLate
            | Self::Busy => true,
            Self::Malformed
            | Self::RequestLate
            | Self::TooLong
            | Self::HeadTooLong
            | Self::Expectation
            | Self::Unsupported
            | Self::Version
            | Self::Stopping => false,
        }
    }
}

/// A reply that the wire cannot say, and why: the handler's fault. If nothing of the reply was written,
/// the client is refused ([`Kind::HandlerFailed`]); else the reply has to be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unspeakable(pub(crate) String);

/// A reason as one line of plain text: control characters become spaces, so that it stays one line and
/// cannot drive a terminal.
pub(super) fn plain(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
