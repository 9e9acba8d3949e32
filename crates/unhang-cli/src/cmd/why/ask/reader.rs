//! What reads a descriptor.

use serde::{Deserialize, Serialize};

use super::location::Location;

/// What reads a descriptor of a Go program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reader {
    /// This goroutine waits until there is something to read. Its functions, innermost first; how
    /// the runtime parks it is left out.
    Waiting { goroutine: u64, frames: Vec<String>, location: Location },
    /// A goroutine of net/http waits for the next request of a client that keeps its connection, for
    /// the next frame of HTTP/2, or, in a client's pool, for the server to close: nobody owes anybody
    /// anything, but for requests under way on one that is `shared`, as HTTP/2's.
    KeptAlive { goroutine: u64, shared: bool },
    /// net/http has read the request, and its handler runs: a goroutine waits only to notice if the
    /// client leaves.
    Handled { handler: Result<Handler, String> },
    /// None does.
    Nobody {
        /// How many goroutines could own it nevertheless. Not counted are the runtime's own, and
        /// those (the main one too) that wait in accept or for ever in `select {}`. So with 0 there
        /// is no goroutine left that would read or close it; a timer (`time.AfterFunc`), the
        /// garbage collector, or a goroutine that accepts the next connection still might.
        handlers: usize,
    },
}

/// The goroutine that has the handler of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handler {
    pub(crate) goroutine: u64,
    /// It waits in a `select` of several cases, as one does that waits for events on purpose.
    pub(crate) selects: bool,
    pub(crate) location: Location,
}

impl Reader {
    /// Where the goroutine is that has the connection.
    pub(crate) fn location(&self) -> Option<&Location> {
        match self {
            Self::Waiting { location, .. } => Some(location),
            Self::Handled { handler: Ok(handler) } => Some(&handler.location),
            Self::Handled { .. } | Self::KeptAlive { .. } | Self::Nobody { .. } => None,
        }
    }
}
