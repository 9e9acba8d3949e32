//! What a server tells its observer.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::handler::{Fault, FaultKind, Peer};

/// Something that happened in a server.
///
/// ```
/// # fn example() -> Result<(), unhang::Error> {
/// use unhang::{Event, Server};
///
/// let server = Server::bind("/tmp/hello.sock")?.observe(|event| match event {
///     Event::Exchange(exchange) => eprintln!("{} in {:?}", exchange.ended.code(), exchange.took),
///     other => eprintln!("{other:?}"),
/// });
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An exchange is over.
    Exchange(Exchange),
    /// No connection could be accepted to be served. If descriptors are missing, clients are told so;
    /// else they stay queued, and it is tried again. Said once until one is accepted.
    AcceptFailed(Arc<io::Error>),
    /// Another process serves the socket from now on; this one drains.
    Replaced {
        /// That process.
        by: Option<Peer>,
    },
    /// Another process asked for the socket and did not get to serve it; this one goes on.
    NotReplaced {
        /// That process.
        by: Option<Peer>,
        /// What went wrong.
        error: Arc<io::Error>,
    },
    /// No new client can connect, as the socket file is not there any more, another is, or the socket
    /// was shut. Connected clients are served. Said once, until that changes.
    SocketLost(Lost),
    /// The server has stopped accepting and finishes what it has accepted.
    Draining {
        /// How many connections are under way.
        open: usize,
        /// How long they may take.
        within: Duration,
    },
    /// The observer was slower than the server for so long that this many events were not kept for
    /// it. What they would have told has happened all the same.
    Dropped {
        /// How many.
        events: u64,
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

/// How one exchange went: a request and what came of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exchange {
    /// The client's process. For an answered client, only with
    /// [`name_peers`](crate::Server::name_peers).
    pub peer: Option<Peer>,
    /// Which exchange of its connection this was, from 1 on.
    pub nth: u64,
    /// Ties it to the span `exchange` of its handler, which has the same `id`. None if no handler was asked.
    #[cfg(feature = "tracing")]
    pub id: Option<u64>,
    /// Bytes read, with those that were discarded.
    pub bytes_in: usize,
    /// Bytes written.
    pub bytes_out: usize,
    /// From the accept, or on a connection that is kept from the first byte, to the end of the reply
    /// or the close.
    pub took: Duration,
    /// How long the handler took, if it was asked.
    pub handled: Option<Duration>,
    /// How it ended.
    pub ended: Ended,
}

/// How an exchange ended. A one-shot connection is then closed.
#[derive(Clone, Debug)]
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
    /// The client took nothing of its reply for as long as the write deadline, or not all of it
    /// before the drain was over. The reply is cut.
    ReplyNotTaken,
    /// The reply had begun when its handler failed or was late. The reply is cut: the client sees an
    /// error, and no clean end.
    Cut(Cause),
    /// A system call failed on a healthy connection.
    Failed(State, Arc<io::Error>),
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
#[derive(Clone, Debug)]
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
        /// What would have ended it, as advice to the client.
        advice: &'static str,
    },
    /// The request breaks the protocol: what was expected, and what came.
    Malformed(String),
    /// More of the request came after a pause that had been taken for its end, and before the reply.
    /// The handler was given a part of it.
    RequestWentOn,
    /// The client has passed a descriptor, which is not read: the kernel would close it on a thread that
    /// others depend on.
    DescriptorPassed,
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
    /// As many handlers run as may, those of clients that were told to wait no longer among them.
    Handlers {
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
            Self::Cut(_) => "cut",
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
            Self::Malformed(_) => "malformed",
            Self::RequestWentOn => "request_went_on",
            Self::DescriptorPassed => "descriptor_passed",
            Self::HandlerLate { .. } => "handler_late",
            Self::HandlerFailed(fault) => fault.code(),
            Self::Stopping => "stopping",
            Self::Busy(Scarce::Places { .. }) => "busy_places",
            Self::Busy(Scarce::PerUser { .. }) => "busy_user",
            Self::Busy(Scarce::Memory { .. }) => "busy_memory",
            Self::Busy(Scarce::Handlers { .. }) => "busy_handlers",
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
            Self::RequestLate { deadline, advice } => {
                write!(f, "no whole request within {deadline:?}: {advice}")
            }
            Self::Malformed(what) => f.write_str(what),
            Self::RequestWentOn => f.write_str(
                "the request went on after a pause that ended it: half-close after the request \
                 (shutdown SHUT_WR), or end it with a newline and serve with --until newline",
            ),
            Self::DescriptorPassed => {
                f.write_str("a descriptor was passed (SCM_RIGHTS): send bytes alone")
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
            Self::Handlers { most } => write!(f, "{most} handlers are running"),
            Self::Descriptors => f.write_str("out of file descriptors"),
            Self::Kernel => f.write_str("the kernel has no memory left for this connection"),
        }
    }
}
