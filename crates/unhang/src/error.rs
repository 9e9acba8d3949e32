//! What went wrong, in which phase, whose fault it was, and what to do next.

mod advice;
mod display;
mod excerpt;
mod shape;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A call or a server that could not do its work.
///
/// It prints as a sentence that says what was expected, what came, and what to do; also by `{:?}`, so that
/// a `main` which returns it tells that to a person.
#[derive(Clone)]
pub struct Error {
    address: String,
    kind: ErrorKind,
}

/// What went wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The address cannot be one: empty, too long, or with a NUL byte.
    BadAddress {
        /// What was expected and what came.
        complaint: String,
    },

    /// Calling: a setting of the client makes no sense.
    BadSetting {
        /// What was expected and what came.
        complaint: &'static str,
    },

    /// Serving: another process serves this address, or is about to.
    Held {
        /// Its process id, if it could be seen.
        pid: Option<u32>,
    },
    /// Serving: another process serves this address, and there is nowhere to ask it for its socket.
    NotReplaceable {
        /// Its process id, if it could be seen.
        pid: Option<u32>,
        /// Why not.
        why: String,
    },
    /// Serving: the server that was to be replaced did not answer. It goes on.
    NotHandedOver {
        /// How long it was waited for.
        waited: Duration,
    },
    /// Serving: the server that was to be replaced goes on, and has not left its socket to this one.
    NotReplaced {
        /// Why, as that one says.
        why: String,
    },
    /// Serving: something that is not a socket has this name. It is left untouched.
    Occupied {
        /// What it is, for people: "a directory".
        by: &'static str,
    },
    /// Serving: any user may replace files in this directory.
    UnsafeDirectory {
        /// Its mode bits.
        mode: u32,
    },
    /// Serving: a system call failed while the socket was set up.
    Setup {
        /// What was being done, for people: "lock /run/app.sock.lock".
        step: String,
        /// What the kernel said.
        source: Arc<io::Error>,
    },

    /// Calling: nothing has this name.
    NoSuchFile,
    /// Calling: the socket file is there, but its server is gone; or nobody has the abstract name.
    NobodyListens,
    /// Calling: the socket file is a mount of a file that was deleted. Its server, or a later one, listens
    /// on another file.
    DeletedFile,
    /// Calling: this user may not connect. It takes write permission on the socket and search
    /// permission on every directory above it.
    PermissionDenied,
    /// Calling: the file is not a socket.
    NotASocket,
    /// Calling: the socket there is of another type (datagram or seqpacket).
    NotAStreamSocket,
    /// Calling: the accept queue stayed full until the deadline.
    QueueFull {
        /// For how long it was tried.
        tried: Duration,
    },
    /// Calling: `connect()` failed in another way.
    Connect {
        /// What the kernel said.
        source: Arc<io::Error>,
    },
    /// Calling: the deadline passed before a byte of the reply came.
    TimedOut {
        /// What was under way.
        phase: Phase,
        /// How long the call took.
        elapsed: Duration,
    },
    /// Calling: a reply began, and what ends it did not come within the deadline.
    Incomplete {
        /// What ends it, for people: "newline".
        awaited: String,
        /// What came.
        partial: Vec<u8>,
        /// How long the call took.
        elapsed: Duration,
    },
    /// Calling: the server answered and kept the connection open until the deadline.
    NotClosed {
        /// What came.
        reply: Vec<u8>,
        /// How long nothing more had come. If that is short, its reply may still have been coming.
        silent: Duration,
        /// How long the call took.
        elapsed: Duration,
    },
    /// Calling: the connection ended before the reply was whole.
    Lost {
        /// What was under way.
        phase: Phase,
        /// Whether the server may have acted on the request: it was sent, at least in part.
        request_may_have_run: bool,
        /// Whether the client had half-closed, which some servers take for the end of the conversation.
        half_closed: bool,
        /// What had come of the reply.
        partial: Vec<u8>,
        /// What the kernel said; nothing when the server just closed.
        source: Option<Arc<io::Error>>,
    },
    /// Calling: the server has answered to a part of the request: it did not take the rest.
    RequestCut {
        /// How many bytes the kernel took for the server. It may have read less.
        sent: usize,
        /// How many the request has.
        of: usize,
        /// What the server has answered.
        reply: Vec<u8>,
    },
    /// Calling: what came is not what the reply was to be, see [`ReplyEnds`](crate::ReplyEnds).
    BrokenReply {
        /// What was expected and what came.
        why: &'static str,
        /// What came.
        partial: Vec<u8>,
    },
    /// Calling: the server passes a file descriptor along with its reply, and this kernel (before Linux
    /// 6.16) cannot refuse it. To read on could hold up the caller past every deadline.
    DescriptorPassed {
        /// What had come of the reply.
        partial: Vec<u8>,
    },
    /// Calling: the reply is longer than the caller allows.
    ReplyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Calling: the server told in its error line why it did not answer.
    Refused {
        /// Its reason, without the `ERR ` before it, with all bytes that the server sent. To show it to
        /// people, take the message of the error: it is short, and its control characters are escaped.
        reason: String,
        /// The reply as it came.
        reply: Vec<u8>,
    },
}

/// What a call was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Finding or preparing the socket, on either side.
    Setup,
    /// Connecting.
    Connect,
    /// Writing the request.
    Send,
    /// Reading the reply.
    Receive,
}

/// Which side has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Whose {
    /// The caller of the client, or the operator that started the server: an argument, a path or a permission.
    Caller,
    /// The program that serves the socket.
    Server,
    /// The machine: the kernel refused something both did right.
    System,
}

impl Error {
    pub(crate) fn new(address: &impl fmt::Display, kind: ErrorKind) -> Self {
        Self { address: address.to_string(), kind }
    }

    pub(crate) fn setup(
        address: &impl fmt::Display,
        step: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::new(address, ErrorKind::Setup { step: step.into(), source: Arc::new(source.into()) })
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// What went wrong, to keep what it holds.
    pub fn into_kind(self) -> ErrorKind {
        self.kind
    }

    /// The socket, as it was named.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was under way.
    pub fn phase(&self) -> Phase {
        match &self.kind {
            ErrorKind::BadAddress { .. }
            | ErrorKind::BadSetting { .. }
            | ErrorKind::Held { .. }
            | ErrorKind::NotHandedOver { .. }
            | ErrorKind::NotReplaceable { .. }
            | ErrorKind::NotReplaced { .. }
            | ErrorKind::Occupied { .. }
            | ErrorKind::UnsafeDirectory { .. }
            | ErrorKind::Setup { .. } => Phase::Setup,
            ErrorKind::NoSuchFile
            | ErrorKind::NobodyListens
            | ErrorKind::DeletedFile
            | ErrorKind::PermissionDenied
            | ErrorKind::NotASocket
            | ErrorKind::NotAStreamSocket
            | ErrorKind::QueueFull { .. }
            | ErrorKind::Connect { .. } => Phase::Connect,
            ErrorKind::TimedOut { phase, .. } | ErrorKind::Lost { phase, .. } => *phase,
            ErrorKind::RequestCut { .. } => Phase::Send,
            ErrorKind::Incomplete { .. }
            | ErrorKind::BrokenReply { .. }
            | ErrorKind::DescriptorPassed { .. }
            | ErrorKind::NotClosed { .. }
            | ErrorKind::ReplyTooLarge { .. }
            | ErrorKind::Refused { .. } => Phase::Receive,
        }
    }

    /// Which side has to act.
    pub fn whose(&self) -> Whose {
        match &self.kind {
            ErrorKind::BadAddress { .. }
            | ErrorKind::BadSetting { .. }
            | ErrorKind::Held { .. }
            | ErrorKind::NotReplaceable { .. }
            | ErrorKind::NotReplaced { .. }
            | ErrorKind::Occupied { .. }
            | ErrorKind::UnsafeDirectory { .. }
            | ErrorKind::NoSuchFile
            | ErrorKind::DeletedFile
            | ErrorKind::PermissionDenied
            | ErrorKind::NotASocket
            | ErrorKind::NotAStreamSocket
            | ErrorKind::ReplyTooLarge { .. } => Whose::Caller,
            ErrorKind::NotClosed { silent, elapsed, .. } if may_be_coming(*silent, *elapsed) => {
                Whose::Caller
            }
            ErrorKind::NotHandedOver { .. }
            | ErrorKind::NobodyListens
            | ErrorKind::QueueFull { .. }
            | ErrorKind::TimedOut { .. }
            | ErrorKind::Incomplete { .. }
            | ErrorKind::NotClosed { .. }
            | ErrorKind::Lost { .. }
            | ErrorKind::RequestCut { .. }
            | ErrorKind::BrokenReply { .. }
            | ErrorKind::DescriptorPassed { .. }
            | ErrorKind::Refused { .. } => Whose::Server,
            ErrorKind::Setup { .. } | ErrorKind::Connect { .. } => Whose::System,
        }
    }
}

/// Whether a reply may still have been coming at the deadline: to call a server that is only slow one
/// that forgot to close would send people after a fault that it has not.
fn may_be_coming(silent: Duration, elapsed: Duration) -> bool {
    silent < elapsed / 10
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.kind)?;
        match self.next_step() {
            "" => Ok(()),
            next => write!(f, ". {next}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Setup { source, .. }
            | ErrorKind::Connect { source }
            | ErrorKind::Lost { source: Some(source), .. } => Some(&**source),
            _ => None,
        }
    }
}
