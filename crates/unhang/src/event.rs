//! What a server tells whoever watches it.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::handler::{Fault, FaultKind, Peer};
use crate::wire::oneshot::Until;

/// Something that happened in a server.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection has ended.
    Exchange(&'a Exchange),
    /// No connection could be accepted to be served. Where descriptors are missing, who comes is told
    /// so; else those who wait stay queued, and it is tried again. Said once until one is accepted.
    AcceptFailed(&'a io::Error),
    /// Another process serves the socket from now on; this one drains.
    Replaced {
        /// Who that is.
        by: Option<Peer>,
    },
    /// Another process asked for the socket and did not get to serve it; this one goes on.
    NotReplaced {
        /// Who that was.
        by: Option<Peer>,
        /// What went wrong.
        error: &'a io::Error,
    },
    /// Nobody new can connect, as the socket file is not there any more, another is, or the socket
    /// was shut. Who is connected is served. Said once, until that changes.
    SocketLost(Lost),
    /// The server has stopped accepting and finishes what it has accepted.
    Draining {
        /// How many connections are under way.
        open: usize,
        /// How long they may take.
        within: Duration,
    },
}

/// What became of a socket while its server lives. Its `Display` says what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// Its file is gone.
    Deleted,
    /// Another file has its name.
    Replaced,
    /// Another process that has it has shut it, for everybody (`shutdown(2)`).
    Shut,
}

/// How one connection went.
#[derive(Debug)]
#[non_exhaustive]
pub struct Exchange {
    /// Who called. Where the client was answered, only with
    /// [`name_peers`](crate::Server::name_peers).
    pub peer: Option<Peer>,
    /// Bytes read, with those that were discarded.
    pub bytes_in: usize,
    /// Bytes written.
    pub bytes_out: usize,
    /// From the accept to the close.
    pub took: Duration,
    /// How long the handler took, if it was asked.
    pub handled: Option<Duration>,
    /// How it ended.
    pub ended: Ended,
}

/// How a connection ended. In every case it is closed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// The client has its whole reply.
    Answered,
    /// The client was told why it gets no answer.
    Refused(Cause),
    /// The client left before it had sent a byte, as a probe does.
    NoRequest,
    /// The client vanished.
    ClientGone(State),
    /// The client did not take its whole reply within the write or the drain deadline.
    ReplyNotTaken,
    /// A system call failed on a healthy connection.
    Failed(State, io::Error),
}

/// The states of a connection in which its stream can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Reading the request.
    Reading,
    /// Writing the reply.
    Writing,
}

/// Why a client gets no answer. Its `Display` is the reason that the client is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Cause {
    /// The request is longer than the limit.
    RequestTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The request was not whole at its deadline.
    RequestLate {
        /// The deadline.
        deadline: Duration,
        /// Where it should have ended.
        until: Until,
    },
    /// The handler was still running at its deadline.
    HandlerLate {
        /// The deadline.
        deadline: Duration,
    },
    /// The handler returned an error or panicked. What the log should know is the fault's own
    /// `Display`.
    HandlerFailed(Fault),
    /// The server stopped before the answer was ready.
    Stopping,
    /// The server has not enough of something.
    Busy(Scarce),
    /// This user is not among those that are allowed to ask.
    NotAllowed,
}

/// What a busy server has not enough of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scarce {
    /// No place came free while the client was in the accept queue.
    Places {
        /// How many there are.
        most: usize,
    },
    /// This user has as many connections as one may have.
    PerUser {
        /// How many that are.
        most: usize,
    },
    /// The requests under way hold as many bytes as they may.
    Memory {
        /// How many that are.
        most: usize,
    },
    /// The process, or the machine, has no file descriptor left.
    Descriptors,
    /// The kernel has no memory to read the request, or has as many sockets to watch as it may
    /// (`epoll_ctl(2)`: ENOMEM, ENOSPC).
    Kernel,
}

impl Ended {
    /// One stable word, for logs and counters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused(_) => "refused",
            Self::NoRequest => "no_request",
            Self::ClientGone(_) => "client_gone",
            Self::ReplyNotTaken => "reply_not_taken",
            Self::Failed(..) => "failed",
        }
    }
}

impl Lost {
    /// What to do next, as a sentence.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Deleted => "To create it again, restart the server.",
            Self::Replaced => {
                "See who put the other there (ss -xlp); to have the path back, remove it and \
                 restart the server."
            }
            Self::Shut => {
                "Restart the server, and first whoever made the socket for it, such as systemd's \
                 socket unit."
            }
        }
    }
}

impl Cause {
    /// One stable word, for logs and counters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RequestTooLong { .. } => "request_too_long",
            Self::RequestLate { .. } => "request_late",
            Self::HandlerLate { .. } => "handler_late",
            Self::HandlerFailed(fault) => match fault.kind {
                FaultKind::Panicked(_) => "handler_panicked",
                FaultKind::Told(_) | FaultKind::Failed => "handler_failed",
            },
            Self::Stopping => "stopping",
            Self::Busy(Scarce::Places { .. }) => "busy_places",
            Self::Busy(Scarce::PerUser { .. }) => "busy_user",
            Self::Busy(Scarce::Memory { .. }) => "busy_memory",
            Self::Busy(Scarce::Descriptors) => "busy_descriptors",
            Self::Busy(Scarce::Kernel) => "busy_kernel",
            Self::NotAllowed => "not_allowed",
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "the socket file was deleted: nobody new can connect",
            Self::Replaced => {
                "another file is in the place of the socket file: nobody new comes here"
            }
            Self::Shut => "another process has shut the socket: nobody new can connect",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestTooLong { limit } => {
                write!(f, "the request is longer than {limit} bytes")
            }
            Self::RequestLate { deadline, until } => {
                write!(f, "no whole request within {deadline:?}: ")?;
                f.write_str(match until {
                    Until::Dry => "send it, and half-close if it comes in pieces",
                    Until::Newline => "end it with a newline, or half-close",
                    Until::HalfClose => "half-close after it (shutdown SHUT_WR)",
                })
            }
            Self::HandlerLate { deadline } => {
                write!(f, "the handler took longer than {deadline:?}")
            }
            Self::HandlerFailed(fault) => match &fault.kind {
                FaultKind::Told(reason) => f.write_str(reason),
                FaultKind::Failed => f.write_str("the handler failed"),
                FaultKind::Panicked(_) => f.write_str("the handler panicked"),
            },
            Self::Stopping => f.write_str("the server is stopping"),
            Self::Busy(scarce) => write!(f, "busy: {scarce}"),
            Self::NotAllowed => f.write_str("not allowed"),
        }
    }
}

impl fmt::Display for Scarce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Places { most } => write!(f, "{most} connections are under way"),
            Self::PerUser { most } => write!(f, "this user has {most} connections under way"),
            Self::Memory { most } => write!(f, "requests under way hold {most} bytes"),
            Self::Descriptors => f.write_str("out of file descriptors"),
            Self::Kernel => f.write_str("the kernel has no memory left for this connection"),
        }
    }
}
