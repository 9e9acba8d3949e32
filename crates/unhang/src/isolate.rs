//! Keeps the handler away from the thread that holds the deadlines. It begins on the shard that has
//! read its request; what does not end there at once goes on as a task of the caller's runtime. On
//! either it may block, panic or never end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::attempt::is_attempt;
use crate::handler::{Fault, Reply};

/// A handler at work. Dropped, it is ended at its next `.await`.
pub(crate) struct Isolated<'a> {
    handlers: &'a Handle,
    /// Until it is a task.
    answer: Option<Answer>,
    task: Option<AbortOnDrop>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>>;

impl<'a> Isolated<'a> {
    /// `answer` is polled at once in an attempt, and else on `handlers`.
    pub(crate) fn new(
        handlers: &'a Handle,
        answer: impl Future<Output = Result<Reply, Fault>> + Send + 'static,
    ) -> Self {
        Self { handlers, answer: Some(Box::pin(answer)), task: None }
    }
}

impl Future for Isolated<'_> {
    type Output = Result<Reply, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(answer) = &mut self.answer {
            if is_attempt() {
                match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
                    Ok(Poll::Pending) => {}
                    Ok(Poll::Ready(answer)) => return Poll::Ready(answer),
                    Err(panic) => return Poll::Ready(Err(panicked(panic.as_ref()))),
                }
            }
        }
        if let Some(answer) = self.answer.take() {
            self.task = Some(AbortOnDrop(self.handlers.spawn(answer)));
        }
        let Some(task) = &mut self.task else { return Poll::Pending };
        Poll::Ready(match ready!(pin!(&mut task.0).poll(cx)) {
            Ok(answer) => answer,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Err(panicked(panic.as_ref())),
                Err(cancelled) => Err(cancelled.into()),
            },
        })
    }
}

struct AbortOnDrop(JoinHandle<Result<Reply, Fault>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// With what `panic!` was given: a `&str` or a `String`, unless it was `panic_any`.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Fault {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Fault::panicked(text.unwrap_or_else(|| "no message".into()))
}
