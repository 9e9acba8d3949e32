//! A call that was taken: its handler runs, within its time, and its answer is sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, sleep_until};
use unhang::{Cause, Fault, Handler, Peer, Reply, Request};

use super::shared::{Running, Shared, lock};
use crate::clock::millis;
use crate::link::Link;
use crate::protocol::{self, Id, Question, Word, fits};

/// A worker that has not answered by then says that it is at it. A shorter call costs one message less.
const MOMENT: Duration = Duration::from_millis(20);

/// A call that comes so near to the last moment for its start was long on its way: its door gives it up soon, and is
/// told at once that it was accepted.
const NEAR: Duration = Duration::from_millis(200);

impl<H: Handler> Shared<H> {
    pub(super) async fn serve(
        self: Arc<Self>,
        answer: Answer<H>,
        question: Question,
        payload: Bytes,
        place: OwnedSemaphorePermit,
    ) {
        let begun = Instant::now();
        let bytes_in = payload.len();
        let peer = question.peer.map(|uid| Peer { pid: 0, uid, gid: u32::MAX });
        let (request, report) = Request::new(Vec::from(payload), peer).with_wait_report();
        let _open = Open::new(&self, &answer.link, question.id, Running { begun, report });
        let (fault, bytes_out) = match self.run(&answer, &question, request).await {
            Ok(reply) => {
                let most = answer.link.client.max_payload();
                match fits(&[], reply.len(), most) {
                    true => {
                        let length = reply.len();
                        let error = answer.say(&Word::Answer, reply).await.err();
                        (error.map(|error| ("not_sent", error)), length)
                    }
                    false => (Some(self.too_large(&answer, reply.len(), most).await), 0),
                }
            }
            Err(fault) => {
                let cause = Cause::HandlerFailed(fault.clone());
                let (code, told) = (cause.code(), cause.to_string());
                let said = answer.say(&self.failed(code), Bytes::from(told)).await.err();
                let why = said.map_or(fault.to_string(), |error| format!("{fault}; {error}"));
                (Some((code, why)), 0)
            }
        };
        drop(place);
        let (outcome, why) = fault.map_or(("answered", None), |(code, why)| (code, Some(why)));
        self.tell(&question, outcome, why, (bytes_in, bytes_out), begun.elapsed());
    }

    async fn too_large(
        &self,
        answer: &Answer<H>,
        length: usize,
        most: usize,
    ) -> (&'static str, String) {
        const CODE: &str = "backend_reply_too_large";
        let told = format!(
            "the reply of {length} bytes is larger than NATS takes ({most} bytes); the request has run. Raise \
             max_payload of nats-server, to 8 MiB at most"
        );
        let _ = answer.say(&self.failed(CODE), Bytes::from(told.clone())).await;
        (CODE, told)
    }

    /// Runs the handler, within the time that the door has left it.
    async fn run(
        self: &Arc<Self>,
        answer: &Answer<H>,
        question: &Question,
        mut request: Request,
    ) -> Result<Bytes, Fault> {
        let allowed = question.left.min(self.deadline);
        let until = tokio::time::Instant::now() + allowed;
        request = request.with_header(protocol::ID, &question.id.to_string());
        if let Some(trace) = &question.trace {
            request = request.with_header(protocol::TRACE, trace);
        }
        let shared = Arc::clone(self);
        let most = answer.link.client.max_payload();
        // A task of its own: its panic is its own, and it can be given up.
        let mut work = self.handlers.spawn(async move {
            let reply: Reply = shared.handler.handle(request).await?;
            reply.collect(most.saturating_mul(2)).await
        });
        let given_up = GiveUp(work.abort_handle());
        let mut over = self.over.subscribe();
        let over = async move { over.wait_for(|over| *over).await.is_ok() };
        tokio::pin!(over);
        let mut is_told = false;
        let near = question.by.saturating_sub(self.wall()) < millis(NEAR);
        let accepted = sleep(if near { Duration::ZERO } else { MOMENT });
        tokio::pin!(accepted);
        loop {
            tokio::select! {
                done = &mut work => {
                    return match done {
                        Ok(done) => done,
                        Err(error) if error.is_panic() => {
                            Err(Fault::new("the handler panicked").with_code("handler_panicked"))
                        }
                        Err(_) => Err(Fault::new("the handler was ended")),
                    };
                }
                () = &mut accepted, if !is_told => {
                    is_told = true;
                    let word = Word::Accepted { worker: self.name.clone(), at: self.wall() };
                    // If it does not come, the door takes the call for lost, and the answer still counts.
                    let _ = answer.say(&word, Bytes::new()).await;
                }
                () = sleep_until(until) => {
                    drop(given_up);
                    let told = format!("the worker took longer than {allowed:.1?}");
                    return Err(Fault::new(told).with_code("backend_late"));
                }
                _ = &mut over => {
                    drop(given_up);
                    let told = "the worker stopped before the answer was ready; the request may have run";
                    return Err(Fault::new(told).with_code("stopping"));
                }
            }
        }
    }
}

/// Dropped, the handler's task ends at its next wait.
struct GiveUp(tokio::task::AbortHandle);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A call while it is under way.
struct Open<'a, H> {
    shared: &'a Shared<H>,
    link: Link,
    id: Id,
}

impl<'a, H> Open<'a, H> {
    fn new(shared: &'a Shared<H>, link: &Link, id: Id, running: Running) -> Self {
        lock(&shared.running).insert(id, running);
        shared.counts.0.fetch_add(1, Ordering::SeqCst);
        link.open_calls().fetch_add(1, Ordering::SeqCst);
        Self { shared, link: link.clone(), id }
    }
}

impl<H> Drop for Open<'_, H> {
    fn drop(&mut self) {
        lock(&self.shared.running).remove(&self.id);
        self.link.open_calls().fetch_sub(1, Ordering::SeqCst);
        self.shared.counts.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where a call's reply goes.
pub(super) struct Answer<H> {
    pub(super) shared: Arc<Shared<H>>,
    pub(super) link: Link,
    pub(super) reply: String,
}

impl<H: Handler> Answer<H> {
    /// By the connection that the call came on, or if that is lost or silent by the other one.
    pub(super) async fn say(&self, word: &Word, payload: Bytes) -> Result<(), String> {
        let headers = word.headers();
        // Not on one whose node is silent, if another is there: the answer would hang with it.
        let is_good = |link: &Link| link.is(&|it| it.is_up && !it.is_silent);
        let other = || {
            let links = lock(&self.shared.links);
            links.iter().find(|it| it.number != self.link.number && is_good(it)).cloned()
        };
        let other = if is_good(&self.link) { None } else { other() };
        other
            .as_ref()
            .unwrap_or(&self.link)
            .publish(self.reply.clone(), None, &headers, payload)
            .await
    }

    pub(super) fn say_soon(self, word: Word, payload: Bytes) {
        tokio::spawn(async move {
            // A door that does not hear it tells its client that nobody accepted the call.
            let _ = self.say(&word, payload).await;
        });
    }
}
