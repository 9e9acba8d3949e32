//! One call with one deadline, held whatever the server does.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::drain::after;
use crate::error::{Error, ErrorKind, Phase};
use crate::limits;
use crate::listen::address::Address;
use crate::stream::{Socket, Stream};
use crate::wire::oneshot::error_reason;

/// Sends `message` and returns the reply, with the defaults of [`Client`].
///
/// ```no_run
/// # async fn example() -> Result<(), unhang::Error> {
/// let reply = unhang::call("/run/app.sock", "hello").await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Client::call`].
pub async fn call(name: impl AsRef<Path>, message: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
    Client::new(name).call(message).await
}

/// Calls a service behind a Unix socket, one connection per call.
#[derive(Clone, Debug)]
pub struct Client {
    name: PathBuf,
    deadline: Duration,
    reply_ends: ReplyEnds,
    half_close: bool,
    max_reply: usize,
}

/// Where a reply ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyEnds {
    /// When the server closes or half-closes the connection.
    #[default]
    AtClose,
    /// After the first newline, which stays part of the reply.
    AtNewline,
}

impl Client {
    /// For the socket at a path, or under an abstract name written `@name`.
    pub fn new(name: impl AsRef<Path>) -> Self {
        Self {
            name: name.as_ref().to_path_buf(),
            deadline: limits::CALL,
            reply_ends: ReplyEnds::default(),
            half_close: true,
            max_reply: limits::MAX_REPLY,
        }
    }

    /// For the whole call: connecting, sending and receiving together. 5 s unless set.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Where the reply ends; [`ReplyEnds::AtClose`] unless set.
    #[must_use]
    pub fn reply_ends(self, reply_ends: ReplyEnds) -> Self {
        Self { reply_ends, ..self }
    }

    /// Whether to half-close after the request, which tells the server that it is whole; true
    /// unless set. Some servers take it for the end of the whole conversation (Node's `net` with
    /// its defaults is one): turn it off for those.
    #[must_use]
    pub fn half_close(self, half_close: bool) -> Self {
        Self { half_close, ..self }
    }

    /// The longest reply to take, in bytes; 16 MiB unless set.
    #[must_use]
    pub fn max_reply(self, max_reply: usize) -> Self {
        Self { max_reply, ..self }
    }

    /// Sends `message` and returns the reply.
    ///
    /// A reply of no bytes cannot be told from a server that died, and counts as
    /// [`Lost`](ErrorKind::Lost).
    ///
    /// # Errors
    /// [`ErrorKind`] names them; those of phase [`Phase::Connect`], [`Phase::Send`] and
    /// [`Phase::Receive`] can come.
    pub async fn call(&self, message: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        let address = Address::new(&self.name)?;
        let started = Instant::now();
        let deadline = after(self.deadline);
        let stream = connect(&address, started, deadline)
            .await
            .map_err(|kind| Error::new(&address, kind))?;
        let mut call = Call {
            stream: Socket::new(stream),
            message: message.as_ref(),
            sent: 0,
            sending: Sending::Underway,
            reply: Vec::new(),
            last_byte: started,
        };
        let ended = timeout_at(deadline, std::future::poll_fn(|cx| call.poll(cx, self))).await;
        let answered = match ended {
            Ok(end) => call.reply_by(end, self),
            Err(_) => Err(call.late(self.reply_ends, started)),
        };
        answered.map_err(|kind| Error::new(&address, kind))
    }
}

/// The first pause before a full accept queue is tried again, and the longest: a queue of the usual
/// size is worked off within milliseconds, and a stuck server is not helped by more tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

async fn connect(
    address: &Address,
    started: Instant,
    deadline: Instant,
) -> Result<OwnedFd, ErrorKind> {
    let other = |error: Errno| ErrorKind::Connect { source: error.into() };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(other)?;
    let name = address.to_kernel().map_err(other)?;
    let (mut pause, longest) = PAUSE;
    loop {
        match rustix::net::connect(&socket, &name) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            // The accept queue is full, which is not a refusal. Only a non-blocking connect says
            // so; a blocking one waits without any limit.
            Err(Errno::AGAIN) if Instant::now() >= deadline => {
                return Err(ErrorKind::QueueFull { tried: started.elapsed() });
            }
            Err(Errno::AGAIN) => {
                // Clients that were turned away together must not come back together.
                let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                sleep_until((Instant::now() + jittered).min(deadline)).await;
                pause = (pause * 2).min(longest);
            }
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(ErrorKind::NoSuchFile),
            Err(Errno::ACCESS | Errno::PERM) => return Err(ErrorKind::PermissionDenied),
            Err(Errno::PROTOTYPE) => return Err(ErrorKind::NotAStreamSocket),
            // The kernel says the same of a socket without a server and of any other file.
            Err(Errno::CONNREFUSED) if address.is_other_file() => {
                return Err(ErrorKind::NotASocket);
            }
            Err(Errno::CONNREFUSED) => return Err(ErrorKind::NobodyListens),
            Err(error) => return Err(other(error)),
        }
    }
}

/// A call under way.
struct Call<'a, S> {
    stream: S,
    message: &'a [u8],
    sent: usize,
    sending: Sending,
    reply: Vec<u8>,
    last_byte: Instant,
}

enum Sending {
    Underway,
    Done,
    /// The server takes no more; what it has answered is read all the same.
    Failed(io::Error),
}

/// How the receiving ended.
enum End {
    /// The server has closed or half-closed.
    Closed,
    /// The newline that ends the reply came; it ends so many bytes.
    Newline(usize),
    TooLarge,
    Failed(io::Error),
}

impl<S: Stream> Call<'_, S> {
    /// Sends and receives side by side: a server that answers while it still reads would otherwise
    /// wait for us to read, as we wait for it.
    fn poll(&mut self, cx: &mut Context<'_>, client: &Client) -> Poll<End> {
        while matches!(self.sending, Sending::Underway) {
            if self.sent == self.message.len() {
                if client.half_close {
                    // Fails only when the server has closed, which the reading will show.
                    let _ = self.stream.half_close();
                }
                self.sending = Sending::Done;
                break;
            }
            match self.stream.poll_write(cx, &self.message[self.sent..]) {
                Poll::Ready(Ok(bytes)) => self.sent += bytes,
                Poll::Ready(Err(error)) => self.sending = Sending::Failed(error),
                Poll::Pending => break,
            }
        }
        let mut buffer = [0; 16 * 1024];
        loop {
            let bytes = match self.stream.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(End::Closed),
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                Poll::Pending => return Poll::Pending,
            };
            self.last_byte = Instant::now();
            let before = self.reply.len();
            self.reply.extend_from_slice(&buffer[..bytes]);
            let newline = match client.reply_ends {
                ReplyEnds::AtClose => None,
                ReplyEnds::AtNewline => buffer[..bytes].iter().position(|&byte| byte == b'\n'),
            };
            let length = newline.map_or(self.reply.len(), |at| before + at + 1);
            if length > client.max_reply {
                return Poll::Ready(End::TooLarge);
            }
            if newline.is_some() {
                return Poll::Ready(End::Newline(length));
            }
        }
    }

    fn reply_by(mut self, end: End, client: &Client) -> Result<Vec<u8>, ErrorKind> {
        match end {
            End::TooLarge => return Err(ErrorKind::ReplyTooLarge { limit: client.max_reply }),
            End::Failed(error) => return Err(self.lost(Some(error))),
            End::Closed if self.reply.is_empty() || client.reply_ends == ReplyEnds::AtNewline => {
                return Err(self.lost(None));
            }
            End::Closed => {}
            End::Newline(length) => self.reply.truncate(length),
        }
        match error_reason(&self.reply) {
            Some(reason) => {
                Err(ErrorKind::Refused { reason: reason.to_owned(), reply: self.reply })
            }
            None => Ok(self.reply),
        }
    }

    fn lost(self, receiving: Option<io::Error>) -> ErrorKind {
        let request_may_have_run = self.may_have_run();
        let (phase, sending) = match self.sending {
            Sending::Underway => (Phase::Send, None),
            Sending::Failed(error) => (Phase::Send, Some(error)),
            Sending::Done => (Phase::Receive, None),
        };
        let source = receiving.or(sending);
        ErrorKind::Lost { phase, request_may_have_run, partial: self.reply, source }
    }

    fn late(self, reply_ends: ReplyEnds, started: Instant) -> ErrorKind {
        let elapsed = started.elapsed();
        match (reply_ends, self.sending) {
            (_, Sending::Underway) if self.reply.is_empty() => {
                ErrorKind::TimedOut { phase: Phase::Send, elapsed }
            }
            (_, _) if self.reply.is_empty() => {
                ErrorKind::TimedOut { phase: Phase::Receive, elapsed }
            }
            (ReplyEnds::AtNewline, _) => ErrorKind::Incomplete { partial: self.reply, elapsed },
            (ReplyEnds::AtClose, _) => {
                let silent = self.last_byte.elapsed();
                ErrorKind::NotClosed { reply: self.reply, silent, elapsed }
            }
        }
    }

    /// An empty request is whole as soon as it is connected.
    fn may_have_run(&self) -> bool {
        self.sent > 0 || self.message.is_empty()
    }
}
