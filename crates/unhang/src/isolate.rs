//! Keeps the handler away from the thread that holds the deadlines. It begins on the shard that has
//! read its request; what does not end there at once goes on as a task of the caller's runtime. On
//! either it may block, panic or never end.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::attempt::{is_attempt, outside};
use crate::handler::{Fault, Reply};

/// A handler at work. Dropped, it is ended at its next `.await`.
pub(crate) struct Isolated<'a> {
    handlers: &'a Handle,
    /// Until it goes on elsewhere.
    answer: Option<Answer>,
    /// From then on.
    answered: Option<oneshot::Receiver<Result<Reply, Fault>>>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>>;

/// A handler that has not answered at once, to be run to its end.
pub(crate) struct Pending {
    answer: Answer,
    tell: oneshot::Sender<Result<Reply, Fault>>,
}

thread_local! {
    static LEFT: Cell<Option<Pending>> = const { Cell::new(None) };
}

/// The handler that the last attempt of this thread has left pending: whoever made it has it run, or
/// nobody does.
pub(crate) fn left() -> Option<Pending> {
    LEFT.take()
}

impl<'a> Isolated<'a> {
    /// `answer` is polled at once in an attempt, and else on `handlers`.
    pub(crate) fn new(
        handlers: &'a Handle,
        answer: impl Future<Output = Result<Reply, Fault>> + Send + 'static,
    ) -> Self {
        Self { handlers, answer: Some(Box::pin(answer)), answered: None }
    }
}

impl Future for Isolated<'_> {
    type Output = Result<Reply, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(mut answer) = self.answer.take() {
            if is_attempt() {
                if let Poll::Ready(answer) = poll_caught(&mut answer, cx) {
                    return Poll::Ready(answer);
                }
            }
            let (tell, answered) = oneshot::channel();
            self.answered = Some(answered);
            let pending = Pending { answer, tell };
            if is_attempt() {
                LEFT.set(Some(pending));
                return Poll::Pending;
            }
            self.handlers.spawn(pending.run());
        }
        let Some(answered) = &mut self.answered else { return Poll::Pending };
        let answer = ready!(pin!(answered).poll(cx));
        Poll::Ready(answer.unwrap_or_else(|ended| Err(ended.into())))
    }
}

impl Pending {
    /// Until it has answered, or nobody wants to know any more.
    pub(crate) async fn run(self) {
        let Self { mut answer, mut tell } = self;
        let answer = tokio::select! {
            biased;
            () = tell.closed() => return,
            answer = poll_fn(|cx| poll_caught(&mut answer, cx)) => answer,
        };
        // Nobody hears it who has given it up just now.
        let _ = tell.send(answer);
    }
}

fn poll_caught(answer: &mut Answer, cx: &mut Context<'_>) -> Poll<Result<Reply, Fault>> {
    caught(|| outside(|| answer.as_mut().poll(cx)))
        .unwrap_or_else(|message| Poll::Ready(Err(Fault::panicked(message))))
}

/// Runs what is not ours, on a thread that others depend on. Where it panics, with what `panic!` was
/// given: a `&str` or a `String`, unless it was `panic_any`.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        // It is not ours either, and may panic as it is dropped.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(another);
        }
        text.unwrap_or_else(|| "no message".into())
    })
}
