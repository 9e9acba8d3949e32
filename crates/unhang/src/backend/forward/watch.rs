//! What can be seen of the server from outside.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Sees, without asking it, what a server does with one of its connections.
///
/// It is asked where a reply is awaited, and must not block; it may take a millisecond.
pub trait Watch: fmt::Debug + Send + Sync + 'static {
    /// What the server does with the other end of this connection of ours.
    fn look(&self, connection: BorrowedFd<'_>, times: Times) -> Seen;
}

/// When an exchange is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long ago it began, at least.
    pub since: Duration,
    /// How long until its deadline. What the server would do later is of no use to the client.
    pub left: Duration,
}

/// What a server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing of it runs, and nothing but a client can wake it before the deadline: it has forgotten this
    /// connection, or waits for this client or for all of them. That a thread reads this connection is not
    /// enough: another may be at work on the rest of the reply.
    Rests,
    /// It is at work, or may be.
    Works,
    /// This cannot be known.
    Unknown,
}
