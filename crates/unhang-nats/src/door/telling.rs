//! Asks the worker that has a call what it does with it: for `unhang why`.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderValue, StatusCode};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::shared::{Shared, Tries, lock};
use crate::clock::millis;
use crate::protocol::{self, Id, Word};

/// What the worker that has a call says of it, for `unhang why`. Asks it, on a connection that is not silent.
pub(super) async fn tell_of(shared: &Shared, number: u32, within: Duration) -> Option<String> {
    let call = shared.waiting().values().find(|call| call.number == number).cloned()?;
    let Some(worker) = call.worker else {
        return Some(format!(
            "call {} is sent, and no worker has said yet that it has it\n",
            call.id
        ));
    };
    let mut ask = Telling { shared, id: call.id, worker: &worker };
    Some(match timeout(within, ask.ask(within)).await {
        Ok(Some(text)) => text,
        Ok(None) => format!(
            "worker {worker} has call {}, and cannot be asked: it is gone, or no node is \
                             connected\n",
            call.id
        ),
        Err(_) => format!(
            "worker {worker} has call {}, and has not said within {within:.1?} what it does: it is stopped, cut off, \
             or very busy\n",
            call.id
        ),
    })
}

struct Telling<'a> {
    shared: &'a Shared,
    id: Id,
    worker: &'a str,
}

impl Telling<'_> {
    async fn ask(&mut self, within: Duration) -> Option<String> {
        let end = self.shared.ends.get(self.shared.usable_now(None)?)?;
        let (token, (sender, mut replies)) = (Id::new(), mpsc::unbounded_channel());
        lock(&end.tries).insert(token, sender);
        let _forgotten = Forgotten(Arc::clone(&end.tries), token);
        let headers = [
            (protocol::ID, self.id.to_string()),
            // It has to be back by then.
            (protocol::TELL, millis(within * 3 / 4).to_string()),
        ];
        let subject = protocol::worker_subject(self.worker);
        let reply = format!("{}.p.{token}", end.link.inbox);
        end.link.publish(subject, Some(reply), &headers, Bytes::new()).await.ok()?;
        loop {
            let message = replies.recv().await?;
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                return None;
            }
            let headers = message.headers.unwrap_or_default();
            let header = |name: &str| headers.get(name).map(HeaderValue::as_str);
            match Word::read(header) {
                Some(Word::Running) => {
                    let had = header(protocol::HAD).and_then(protocol::whole).unwrap_or_default();
                    let had = Duration::from_millis(had);
                    let text = String::from_utf8_lossy(&message.payload);
                    return Some(format!(
                        "worker {} has had it for {had:.1?}\n{text}",
                        self.worker
                    ));
                }
                Some(Word::Unknown) => {
                    return Some(format!(
                        "worker {} does not know the call any more\n",
                        self.worker
                    ));
                }
                _ => {}
            }
        }
    }
}

/// Takes the token out again, also if it was not waited to the end.
struct Forgotten(Arc<Tries>, Id);

impl Drop for Forgotten {
    fn drop(&mut self) {
        lock(&self.0).remove(&self.1);
    }
}
