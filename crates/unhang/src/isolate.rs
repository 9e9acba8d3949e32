//! Keeps the handler away from the thread that holds the deadlines: it runs as a task of the
//! caller's runtime, where it may block, panic or never end.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::handler::{Fault, Handler, Reply, Request};

/// Runs the handler as a task of the caller's runtime. Dropped, it is ended at its next `.await`.
pub(crate) async fn isolated<H: Handler>(
    handlers: Handle,
    handler: Arc<H>,
    request: Request,
) -> Result<Reply, Fault> {
    let mut task = AbortOnDrop(handlers.spawn(async move { handler.handle(request).await }));
    match (&mut task.0).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(Fault::panicked(message(panic.as_ref()))),
            Err(cancelled) => Err(cancelled.into()),
        },
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What `panic!` was given: a `&str` or a `String`, unless it was `panic_any`.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
