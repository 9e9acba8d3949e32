//! A `tower` service as the handler.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};

use tower_service::Service;

use super::{Fault, Handler, Reply, Request};

/// Answers with a `tower` service, and so with all layers that it is made of. Each request gets a clone of the
/// service, as `tower` wants it; it waits until that is ready, within the handler's deadline.
///
/// ```
/// # use std::task::{Context, Poll};
/// use tower_service::Service;
/// use unhang::{Fault, Request, TowerHandler};
///
/// #[derive(Clone)]
/// struct Hello;
///
/// impl Service<Request> for Hello {
///     type Response = String;
///     type Error = Fault;
///     type Future = std::future::Ready<Result<String, Fault>>;
///
///     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
///         Poll::Ready(Ok(()))
///     }
///
///     fn call(&mut self, request: Request) -> Self::Future {
///         std::future::ready(Ok(format!("hello, {}\n", request.text())))
///     }
/// }
/// # fn is_a_handler(_: impl unhang::Handler) {}
/// # is_a_handler(TowerHandler::new(Hello));
/// ```
pub struct TowerHandler<S>(Mutex<S>);

impl<S> TowerHandler<S> {
    /// This service.
    pub fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }
}

impl<S> Handler for TowerHandler<S>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Response: Into<Reply>,
    S::Error: Into<Fault>,
    S::Future: Send,
{
    async fn handle(&self, request: Request) -> Result<Reply, Fault> {
        // A service need not be `Sync`.
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
        service.call(request).await.map(Into::into).map_err(Into::into)
    }
}

impl<S> fmt::Debug for TowerHandler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TowerHandler")
    }
}
