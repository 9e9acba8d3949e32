//! A handler whose type is not known: for a choice at run time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{Fault, Handler, Reply, Request};

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send + 'a>>;

/// Any handler, as one type: for a service that chooses its handler at run time. Clones are the same
/// handler. Each request costs one allocation more than with the handler's own type.
///
/// ```
/// # use unhang::{AnyHandler, Fault, Request};
/// async fn hello(_: Request) -> Result<&'static str, Fault> { Ok("hello\n") }
/// async fn echo(request: Request) -> Result<Vec<u8>, Fault> { Ok(request.into_bytes()) }
///
/// fn choose(name: &str) -> AnyHandler {
///     if name == "echo" { AnyHandler::new(echo) } else { AnyHandler::new(hello) }
/// }
/// # choose("echo");
/// ```
#[derive(Clone)]
pub struct AnyHandler(Arc<dyn Object>);

trait Object: Send + Sync {
    fn answer(&self, request: Request) -> Answer<'_>;
}

impl<H: Handler> Object for H {
    fn answer(&self, request: Request) -> Answer<'_> {
        Box::pin(self.handle(request))
    }
}

impl AnyHandler {
    /// This handler.
    pub fn new(handler: impl Handler) -> Self {
        Self(Arc::new(handler))
    }
}

impl Handler for AnyHandler {
    fn handle(&self, request: Request) -> impl Future<Output = Result<Reply, Fault>> + Send {
        self.0.answer(request)
    }
}

impl fmt::Debug for AnyHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyHandler")
    }
}
