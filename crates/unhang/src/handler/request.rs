//! What a client sent, and which process it is.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};

#[cfg(feature = "program")]
use super::waits_for::Telling;
use super::waits_for::{Held, WaitReport, WaitsFor};
use crate::parts::RequestParts;

/// What a client sent, and which process it is.
///
/// ```
/// # use unhang::{Peer, Request};
/// let request = Request::new("hello\n", Some(Peer { pid: 1, uid: 33, gid: 33 }));
/// assert_eq!((request.bytes(), &*request.text()), (&b"hello\n"[..], "hello"));
/// assert_eq!(request.peer().map(|peer| peer.uid), Some(33));
/// ```
#[derive(Clone)]
pub struct Request {
    bytes: Vec<u8>,
    caller: Caller,
    parts: Option<Arc<RequestParts>>,
    /// The request's share of `max_held` and of `max_handlers`: given back once the last copy is gone.
    held: Option<Arc<Held>>,
}

/// The client's credentials, or where to ask for them.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    Unknown,
    Known(Peer),
    /// The kernel is asked when the handler wants to know: it costs a system call. Weak, because a
    /// request that a handler keeps must not keep its connection open.
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

/// The process that called `connect()`, as the kernel noted it at that moment (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The process; 0 when it lives in a process-id namespace that this one cannot see.
    pub pid: u32,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
}

impl Request {
    /// A request as a server would hand it over: for a handler's own tests.
    pub fn new(bytes: impl Into<Vec<u8>>, peer: Option<Peer>) -> Self {
        Self::from(bytes.into(), peer.map_or(Caller::Unknown, Caller::Known), None, None)
    }

    pub(crate) fn from(
        bytes: Vec<u8>,
        caller: Caller,
        parts: Option<RequestParts>,
        held: Option<Arc<Held>>,
    ) -> Self {
        Self { bytes, caller, parts: parts.map(Arc::new), held }
    }

    /// The same with one more header: for a request that came by other means than HTTP, and for a handler's
    /// own tests. Its method and target are empty unless it has some.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let parts = self.parts.as_deref().map_or_else(
            || RequestParts::default().with_header(name, value),
            |parts| parts.with_header(name, value),
        );
        self.parts = Some(Arc::new(parts));
        self
    }

    /// Says that its handler waits for a call on another machine: `unhang why` then asks the server what
    /// [`Server::tell_of_calls`](crate::Server::tell_of_calls) knows of that number.
    pub fn waits_for_call(&self, number: u32) {
        if let Some(held) = &self.held {
            held.tell(WaitsFor::Call(number));
        }
    }

    /// The same with a report of what its handler waits for: for a service whose requests come by other means
    /// than its socket, and a request that has no server's bounds yet.
    #[must_use]
    pub fn with_wait_report(self) -> (Self, WaitReport) {
        let (report, held) = WaitReport::new();
        (Self { held: Some(held), ..self }, report)
    }

    /// Its share of the server's bounds, for its handler to hold as well.
    pub(crate) fn held(&self) -> Option<Arc<Held>> {
        self.held.clone()
    }

    #[cfg(feature = "program")]
    /// For a handler that waits for a process or a socket, to say so.
    pub(crate) fn telling(&self) -> Telling {
        Telling::new(self.held())
    }

    /// The message as it came, with the newline at its end if there was one.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The message, to keep. From here on its bytes are the handler's own, and count no more in
    /// [`Limits::max_held`](crate::Limits::max_held).
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// On wires whose requests name a method: HTTP's (`POST`), Goridge's (`Service.Method`).
    pub fn method(&self) -> Option<&str> {
        self.parts.as_deref().map(RequestParts::method)
    }

    /// In HTTP, what the method is to be applied to, as it came: `/path?query`, `*` or a whole URL.
    pub fn target(&self) -> Option<&str> {
        self.parts.as_deref().map(RequestParts::target).filter(|target| !target.is_empty())
    }

    /// In HTTP, the value of the first header of that name, in whatever case it was written. HTTP does not
    /// say that it is text (RFC 9110, section 5.5).
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.parts.as_deref()?.header(name)
    }

    /// In HTTP, all headers as they came: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.parts.as_deref().into_iter().flat_map(RequestParts::headers)
    }

    /// The message as text without the line break at its end; what is not UTF-8 is replaced by
    /// U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        let line = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The client; `None` if that cannot be known, as in a test, and once the connection has ended.
    /// The kernel is asked when this is called.
    pub fn peer(&self) -> Option<Peer> {
        match &self.caller {
            Caller::Unknown => None,
            Caller::Known(peer) => Some(*peer),
            Caller::Connected(connection) => connection.upgrade()?.peer(),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, caller, .. } = self;
        f.debug_struct("Request").field("bytes", bytes).field("caller", caller).finish()
    }
}
