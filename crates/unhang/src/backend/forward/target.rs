//! Where the server behind listens.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tokio::time::{Instant, timeout_at};

use super::link::Link;

/// Where a server listens: the path of a Unix socket, or a host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A path, or `@name` for an abstract one.
    Unix(PathBuf),
    /// A host and a port, as `127.0.0.1:9000`.
    Tcp(String),
}

/// What is no target. `Display` says what was expected.
#[derive(Debug)]
pub struct BadTarget(String);

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        write!(
            f,
            "expected a socket's path, or tcp:HOST:PORT with a port from 1 to 65535, got {text:?}"
        )
    }
}

impl std::error::Error for BadTarget {}

impl Target {
    /// Reads a path, or `tcp:HOST:PORT`.
    pub fn parse(text: &str) -> Result<Self, BadTarget> {
        let bad = || BadTarget(text.to_owned());
        match text.strip_prefix("tcp:") {
            Some(place) => {
                let (host, port) = place.rsplit_once(':').ok_or_else(bad)?;
                let port = port.parse::<u16>().ok().filter(|port| *port > 0);
                match (host, port) {
                    ("", _) | (_, None) => Err(bad()),
                    _ => Ok(Self::Tcp(place.to_owned())),
                }
            }
            None if text.is_empty() => Err(bad()),
            None => Ok(Self::Unix(text.into())),
        }
    }

    /// Connects once: to a Unix socket without a wait, and to another by then.
    pub(super) async fn connect(&self, until: Instant) -> io::Result<Link> {
        match self {
            // No timer: to make one for each exchange would be felt.
            Self::Unix(path) => Link::unix(path),
            Self::Tcp(place) => match timeout_at(until, Link::tcp(place)).await {
                Ok(connected) => connected,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }
}

/// Whether a failed connect may succeed a moment later: the server is being started again, or its queue
/// is full.
pub(super) fn may_pass(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::ConnectionReset
    )
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(place) => write!(f, "tcp:{place}"),
        }
    }
}
