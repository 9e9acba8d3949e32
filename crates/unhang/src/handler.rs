//! What a service writes: a function from a request to a reply.

mod fault;
mod object;
#[cfg(feature = "forward")]
mod piped;
mod reply;
mod request;
#[cfg(feature = "tower")]
mod tower;
mod waits_for;

use std::future::Future;
use std::sync::Arc;

pub use fault::Fault;
pub(crate) use fault::{FaultKind, Says};
pub use object::AnyHandler;
#[cfg(feature = "forward")]
pub(crate) use piped::{Pipe, Piped};
pub(crate) use reply::{Body, Piece};
pub use reply::{Gone, Reply, ReplySender};
pub(crate) use request::{Caller, Connected};
pub use request::{Peer, Request};
#[cfg(feature = "tower")]
pub use tower::TowerHandler;
#[cfg(feature = "program")]
pub(crate) use waits_for::Telling;
pub use waits_for::WaitReport;
pub(crate) use waits_for::{Held, WaitsFor};

/// Answers requests. Implemented for every
/// `Fn(Request) -> impl Future<Output = Result<impl Into<Reply>, Fault>>`, so an `async fn` or a
/// closure is one, and for an [`Arc`] of one.
///
/// A handler begins on the thread that has read the request. If it waits, it goes on as a task of the
/// runtime that called [`serve`](crate::Server::serve), and uses that runtime's timers and sockets. None
/// of these threads keeps the deadlines: whatever a handler does, its client is answered in time. At
/// its deadline a handler is dropped at its next `.await`. Code that computes for long or blocks belongs
/// into `tokio::task::spawn_blocking`, so that the thread can serve other clients.
///
/// ```
/// # use unhang::{Fault, Request};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// // State is shared by an `Arc` that the closure clones for each request.
/// let visits = Arc::new(AtomicU64::new(0));
/// let handler = move |request: Request| {
///     let visits = Arc::clone(&visits);
///     async move {
///         let visit = visits.fetch_add(1, Ordering::Relaxed) + 1;
///         Ok::<_, Fault>(format!("hello, {}: visit {visit}\n", request.text()))
///     }
/// };
/// # fn is_a_handler(_: impl unhang::Handler) {}
/// # is_a_handler(handler);
/// ```
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

impl<H: Handler> Handler for Arc<H> {
    fn handle(&self, request: Request) -> impl Future<Output = Result<Reply, Fault>> + Send {
        H::handle(self, request)
    }
}
