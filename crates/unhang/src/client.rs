//! One call with one deadline, held whatever the server does.

mod connect;
mod exchange;
#[doc(hidden)]
pub mod frame;
mod pool;
mod reply_ends;
mod socket;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::Address;
use crate::error::{Error, ErrorKind};
use crate::limits;
use exchange::{Ended, Exchange};
use pool::Pool;
pub use reply_ends::{LengthPrefix, Predicate, ReplyEnds};
pub use wire::ClientWire;

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

/// Calls a service behind a Unix socket: one connection for each call, or with another [`ClientWire`] than
/// the default connections that are kept for the next call, also of clones of the client.
///
/// ```no_run
/// use std::time::Duration;
/// use unhang::{Client, ErrorKind, ReplyEnds};
///
/// # async fn example() -> Result<(), unhang::Error> {
/// let client = Client::new("/run/app.sock")
///     .deadline(Duration::from_secs(2))
///     .reply_ends(ReplyEnds::AtNewline);
/// match client.call("hello\n").await {
///     Ok(reply) => println!("{}", String::from_utf8_lossy(&reply)),
///     // The service is there, and has said why it does not answer.
///     Err(error) if matches!(error.kind(), ErrorKind::Refused { .. }) => eprintln!("{error}"),
///     // Says the phase, what came, and what to do next.
///     Err(error) => return Err(error),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a client does nothing until it calls"]
pub struct Client {
    name: PathBuf,
    deadline: Duration,
    reply_ends: ReplyEnds,
    half_close: bool,
    wait: bool,
    max_reply: usize,
    wire: ClientWire,
    pool: Pool,
}

impl Client {
    /// For the socket at a path, or under an abstract name written `@name`. It is looked at with the first
    /// call.
    pub fn new(name: impl AsRef<Path>) -> Self {
        Self {
            name: name.as_ref().to_path_buf(),
            deadline: limits::CALL,
            reply_ends: ReplyEnds::default(),
            half_close: true,
            wait: false,
            max_reply: limits::MAX_REPLY,
            wire: ClientWire::default(),
            pool: Pool::default(),
        }
    }

    /// For the whole call: connecting, sending and receiving together. 5 s unless set, see
    /// [`limits::CALL`].
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How it speaks; [`ClientWire::OneShot`] unless set. The connections of another wire are not used any
    /// more.
    pub fn wire(self, wire: ClientWire) -> Self {
        Self { wire, pool: Pool::default(), ..self }
    }

    /// Where the reply ends; [`ReplyEnds::AtClose`] unless set. Only for [`ClientWire::OneShot`]: the other
    /// wires have their own end.
    pub fn reply_ends(self, reply_ends: ReplyEnds) -> Self {
        Self { reply_ends, ..self }
    }

    /// Whether to half-close after the request, which tells the server that the request is whole; true
    /// unless set, as no other sign of its end is sure. Some servers take it for the end of the whole
    /// conversation (Node's `net` and Python's `asyncio` with their defaults, Go's `net/http`): turn it off
    /// for those.
    pub fn half_close(self, half_close: bool) -> Self {
        Self { half_close, ..self }
    }

    /// Whether to wait for a server that does not listen yet: no socket file, or nobody listens on it. False
    /// unless set: a path that is wrong would only be told at the deadline.
    pub fn wait_for_server(self, wait: bool) -> Self {
        Self { wait, ..self }
    }

    /// The longest reply to take, in bytes; 16 MiB unless set, see [`limits::MAX_REPLY`].
    pub fn max_reply(self, max_reply: usize) -> Self {
        Self { max_reply, ..self }
    }

    /// Sends `message` and returns the reply.
    ///
    /// A reply of no bytes cannot be told from a server that died, and counts as
    /// [`Lost`](ErrorKind::Lost). A reply to a request that the server has not taken to its end is
    /// [`RequestCut`](ErrorKind::RequestCut).
    ///
    /// # Errors
    /// [`ErrorKind`] names them, and [`Error::phase`] says how far the call got.
    pub async fn call(&self, message: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        let address = Address::new(&self.name)?;
        let failed = |kind| Error::new(&address, kind);
        if let Some(complaint) = self.reply_ends.complaint() {
            return Err(failed(ErrorKind::BadSetting { complaint }));
        }
        let request = self.wire.request(message.as_ref());
        let request = request.map_err(|complaint| failed(ErrorKind::BadSetting { complaint }))?;
        self.exchange(&address, &request).await.map_err(failed)
    }

    async fn exchange(&self, address: &Address, request: &[u8]) -> Result<Vec<u8>, ErrorKind> {
        let started = Instant::now();
        let deadline = after(started, self.deadline);
        let kept = self.pool.take().and_then(|socket| socket.registered().ok());
        if let Some(socket) = kept {
            let exchange = Exchange::new(self, socket, true, request, started);
            match exchange.run(deadline).await {
                // Once anew, as nothing of the request came to the server. After anything else it may have
                // run, and only the caller knows whether it may run twice.
                Ended::Stale => {}
                ended => return self.reply(ended),
            }
        }
        let socket = connect::connected(address, self.wait, started, deadline).await?;
        self.reply(Exchange::new(self, socket, false, request, started).run(deadline).await)
    }

    fn reply(&self, ended: Ended) -> Result<Vec<u8>, ErrorKind> {
        match ended {
            Ended::Whole(reply, kept) => {
                if let Some(socket) = kept {
                    self.pool.keep(socket);
                }
                Ok(reply)
            }
            Ended::Failed(kind) => Err(kind),
            Ended::Stale => Err(ErrorKind::Connect {
                source: std::sync::Arc::new(rustix::io::Errno::PIPE.into()),
            }),
        }
    }
}

/// The clock cannot tell a moment that far in the future; a century is as good as never.
fn after(start: Instant, span: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
    start + span.min(CENTURY)
}
