//! What a service writes: a function from a request to a reply.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};

/// Answers requests. Implemented for every
/// `Fn(Request) -> impl Future<Output = Result<impl Into<Reply>, Fault>>`, so an `async fn` or a
/// closure is one.
///
/// It begins on the thread that has read the request, and what waits goes on as a task of the
/// runtime that called [`serve`](crate::Server::serve), whose timers and sockets it uses. None of
/// these threads keeps the deadlines: whatever a handler does, its client is answered in time. At
/// its deadline it is dropped at its next `.await`; code that computes for long or blocks belongs
/// into `tokio::task::spawn_blocking`, so that the thread can serve others.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, request: Request) -> impl Future<Output = Result<Reply, Fault>> + Send;
}

impl<F, Answer, T> Handler for F
where
    F: Fn(Request) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<T, Fault>> + Send,
    T: Into<Reply>,
{
    async fn handle(&self, request: Request) -> Result<Reply, Fault> {
        self(request).await.map(Into::into)
    }
}

/// What a client sent, and who it is.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Vec<u8>,
    caller: Caller,
}

/// Who called, or whom to ask.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    Unknown,
    Known(Peer),
    /// The kernel is asked when the handler wants to know: it costs a system call. Weak, as a
    /// request that somebody keeps must not keep its connection open.
    Connected(Weak<dyn Connected>),
}

impl Caller {
    pub(crate) fn connected(connection: &Arc<impl Connected + 'static>) -> Self {
        let connection = Arc::downgrade(connection);
        Self::Connected(connection)
    }
}

/// A connection whose peer can be asked for.
pub(crate) trait Connected: fmt::Debug + Send + Sync {
    /// None once it is closed.
    fn peer(&self) -> Option<Peer>;
}

impl Request {
    /// A request as a server would hand it over: for a handler's own tests.
    pub fn new(bytes: impl Into<Vec<u8>>, peer: Option<Peer>) -> Self {
        Self::from(bytes.into(), peer.map_or(Caller::Unknown, Caller::Known))
    }

    pub(crate) fn from(bytes: Vec<u8>, caller: Caller) -> Self {
        Self { bytes, caller }
    }

    /// The message as it came, with the newline at its end if there was one.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The message, to keep.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The message as text without the line break at its end; what is not UTF-8 is replaced by
    /// U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        let line = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Who called; `None` where that cannot be known, as in a test, and once the connection has
    /// ended. The kernel is asked when this is called.
    pub fn peer(&self) -> Option<Peer> {
        match &self.caller {
            Caller::Unknown => None,
            Caller::Known(peer) => Some(*peer),
            Caller::Connected(connection) => connection.upgrade()?.peer(),
        }
    }
}

/// Who called `connect()`, as the kernel noted it at that moment (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The process; 0 when it lives in a process-id namespace that this one cannot see.
    pub pid: u32,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
}

/// What goes back to the client. Its end is the close of the connection, so an empty reply cannot
/// be told from a server that died: send at least a newline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply(Cow<'static, [u8]>);

impl Reply {
    /// The bytes that go back.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&'static [u8]> for Reply {
    fn from(bytes: &'static [u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<&'static str> for Reply {
    fn from(text: &'static str) -> Self {
        text.as_bytes().into()
    }
}

/// A handler that could not answer. Any error becomes one with `?`; the client is then told only
/// that the handler failed, and the log why.
#[derive(Debug)]
pub struct Fault {
    pub(crate) kind: FaultKind,
    detail: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Kept apart because the client is told different things.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    Told(String),
    Failed,
    Panicked(String),
}

impl Fault {
    /// A fault whose reason the client may read: it is told `ERR <reason>`.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { kind: FaultKind::Told(reason.into()), detail: None }
    }

    pub(crate) fn panicked(message: String) -> Self {
        Self { kind: FaultKind::Panicked(message), detail: None }
    }
}

/// For the log: everything that is known.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Told(reason) => f.write_str(reason)?,
            FaultKind::Failed => {}
            FaultKind::Panicked(message) => write!(f, "it panicked: {message}")?,
        }
        let Some(error) = &self.detail else { return Ok(()) };
        write!(f, "{error}")?;
        let mut cause = error.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Fault {
    fn from(error: E) -> Self {
        Self { kind: FaultKind::Failed, detail: Some(Box::new(error)) }
    }
}
