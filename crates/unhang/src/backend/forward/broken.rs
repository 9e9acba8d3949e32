//! Why there is no whole reply, and what its client is told of that.

use std::io;
use std::time::Duration;

use crate::Fault;
use crate::backend::notice::{Why, refused};

/// Why there is no whole reply.
pub(super) enum Broken {
    Nothing,
    Half,
    /// Its process died in the middle.
    Died(Why),
    Late,
    /// The runtime cannot wait for the server: there is no descriptor or memory left for that.
    Unheard(io::Error),
    /// The reply is not what its rule promised.
    Other(&'static str),
}

/// What the client was to have, when it broke.
pub(super) struct Circumstances {
    pub(super) has_half_closed: bool,
    /// Whether bytes of the reply have come.
    pub(super) has_begun: bool,
    pub(super) deadline: Duration,
}

impl Broken {
    pub(super) fn fault(&self, at: &Circumstances) -> Fault {
        let deadline = at.deadline;
        let may = "the request may have run";
        let told = match self {
            Self::Nothing if at.has_half_closed => format!(
                "the server behind closed without a reply, when it saw the end of the request; {may}"
            ),
            Self::Nothing => format!("the server behind closed without a reply; {may}"),
            Self::Half => format!("the server behind ended in the middle of its reply; {may}"),
            Self::Died(why) => {
                format!("the server behind {why} in the middle of its reply; {may}")
            }
            Self::Late if !at.has_begun => {
                format!("the server behind took longer than {deadline:?}; {may}")
            }
            Self::Late => {
                format!("the reply of the server behind had no end within {deadline:?}")
            }
            Self::Unheard(error) => {
                format!("cannot wait for the server behind: {error}; {may}")
            }
            Self::Other(why) => {
                format!("the reply of the server behind is not what --reply-ends says: {why}")
            }
        };
        let code = match self {
            Self::Late => refused::LATE,
            Self::Died(why) => why.refused_as(),
            Self::Nothing | Self::Half | Self::Unheard(_) | Self::Other(_) => refused::ENDED,
        };
        refused::fault(told, code)
    }
}
