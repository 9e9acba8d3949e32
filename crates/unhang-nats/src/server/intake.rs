//! Takes calls from NATS, answers doors that ask after one, and leaves a node that goes away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::{HeaderValue, Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use unhang::{Handler, WaitReport};

use super::running::Answer;
use super::shared::{Shared, Way, lock};
use crate::clock::millis;
use crate::link::{LEAVE, Link, State};
use crate::notice::Notice;
use crate::protocol::{self, Id, Question, Word};

/// How long it is waited for what a node has sent before it knew that no more is wanted.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Within this time all services leave a node that goes away; it gives them 10 s unless it is configured otherwise.
const SCATTER: Duration = Duration::from_secs(2);

/// More messages than any subscription gets: nats-server reads no number of more than nine digits here
/// (`maxParseSizeLen` in server/util.go), and takes the subscription away at once. async-nats keeps it open
/// and so hands on what is under way; its own `drain` drops what comes after its next read.
const PAST_ANY: u64 = 10_000_000_000;

/// Whatever a door asks, a look at this machine takes no longer.
const LONGEST_LOOK: Duration = Duration::from_secs(20);

impl<H: Handler> Shared<H> {
    /// Takes calls from one connection, whatever node it is on.
    pub(super) async fn take_calls(self: Arc<Self>, link: Link) {
        let mut stopping = self.stopping.subscribe();
        let mut states = link.states();
        loop {
            let Ok(calls) =
                link.client.queue_subscribe(self.subject.clone(), protocol::QUEUE.into()).await
            else {
                return;
            };
            let mut calls = calls;
            let leaves = tokio::select! {
                () = self.take_all(&link, &mut calls) => return,
                _ = stopping.wait_for(|stops| *stops) => false,
                leaves = states.wait_for(|it| it.is_up && it.is_leaving) => leaves.is_ok(),
            };
            if leaves {
                // Not all services at once: as long as one is left on that node, it takes what is on the way there.
                let wait = Duration::from_millis(fastrand::u64(..millis(SCATTER)));
                let stops = stopping.wait_for(|stops| *stops);
                let goes_on = self.take_all(&link, &mut calls);
                tokio::select! {
                    () = goes_on => return,
                    _ = stops => {}
                    () = sleep(wait) => {}
                }
            }
            let epoch = link.state().epoch;
            self.take_last(&link, &mut calls).await;
            drop(calls);
            if !leaves {
                return;
            }
            let until = Instant::now() + LEAVE;
            while link.open_calls().load(Ordering::SeqCst) > 0 && Instant::now() < until {
                sleep(Duration::from_millis(5)).await;
            }
            // The answers have to be with the node before it is left.
            link.round_trip(LAST_CALLS).await;
            if link.state().epoch == epoch {
                link.move_away().await;
            }
            let moved = states.wait_for(|it: &State| it.epoch != epoch);
            tokio::select! {
                moved = moved => if moved.is_err() { return },
                _ = stopping.wait_for(|stops| *stops) => return,
            }
        }
    }

    async fn take_all(self: &Arc<Self>, link: &Link, calls: &mut Subscriber) {
        while let Some(message) = calls.next().await {
            self.take(link, message, Way::Group);
        }
    }

    /// No more is to come; what is under way is taken, as nobody else would get it.
    async fn take_last(self: &Arc<Self>, link: &Link, calls: &mut Subscriber) {
        if !link.state().is_up || calls.unsubscribe_after(PAST_ANY).await.is_err() {
            return;
        }
        tokio::select! {
            () = self.take_all(link, calls) => return,
            _ = link.round_trip(LAST_CALLS) => {}
        }
        // The node answers in order: what it had sent before is read, and lies here.
        while let Some(Some(message)) = calls.next().now_or_never() {
            self.take(link, message, Way::Group);
        }
    }

    fn take(self: &Arc<Self>, link: &Link, message: Message, way: Way) {
        let Some(reply) = message.reply.map(|reply| reply.as_str().to_owned()) else {
            return self.refuse("it names no subject for its reply");
        };
        if !protocol::is_inbox(&reply) {
            return self.refuse(&format!("its reply would go to {reply:?}, which is no inbox"));
        }
        let headers = message.headers.unwrap_or_default();
        let question = Question::read(|name| headers.get(name).map(HeaderValue::as_str));
        let answer = Answer { shared: Arc::clone(self), link: link.clone(), reply };
        let question = match question {
            Ok(question) => question,
            Err(what) => {
                self.refuse(&what);
                return answer.say_soon(self.failed("handler_failed"), what.into());
            }
        };
        if question.is_seek {
            let word = self.offer(&question, link);
            return answer.say_soon(word, Bytes::new());
        }
        match self.admit(&question, way) {
            Ok(place) => {
                let served = Arc::clone(self).serve(answer, question, message.payload, place);
                tokio::spawn(served);
            }
            Err(word) => {
                let outcome = match word {
                    Word::Busy { .. } => "busy",
                    Word::Late { .. } => "late",
                    Word::Stopping { .. } => "stopping",
                    _ => "refused",
                };
                self.tell(&question, outcome, None, (message.payload.len(), 0), Duration::ZERO);
                answer.say_soon(word, Bytes::new());
            }
        }
    }

    /// Takes calls of doors that have asked first, on a subject that is new with each connection.
    pub(super) async fn take_direct(self: Arc<Self>, link: Link) {
        let mut states = link.states();
        while states.wait_for(|it| it.is_up).await.is_ok() {
            let epoch = link.state().epoch;
            let direct = protocol::direct_token(&self.name);
            let subject = protocol::direct_subject(&self.subject, &direct);
            let subscribed = link.client.queue_subscribe(subject, protocol::QUEUE.into()).await;
            let Ok(mut calls) = subscribed else { return };
            // From now on it is offered: the node reads the subscription before that word.
            lock(&self.direct).insert(link.number, direct);
            loop {
                tokio::select! {
                    Some(message) = calls.next() => self.take(&link, message, Way::Direct),
                    moved = states.wait_for(|it| it.epoch != epoch) => match moved {
                        Ok(_) => break,
                        Err(_) => return,
                    },
                    else => return,
                }
            }
            lock(&self.direct).remove(&link.number);
        }
    }

    /// Answers doors that ask whether a call is still under way.
    pub(super) async fn tell_of_calls(self: Arc<Self>, link: Link, mut questions: Subscriber) {
        while let Some(message) = questions.next().await {
            let reply = message.reply.map(|reply| reply.as_str().to_owned());
            let Some(reply) = reply.filter(|reply| protocol::is_inbox(reply)) else { continue };
            let headers = message.headers.unwrap_or_default();
            let id = headers.get(protocol::ID).and_then(|id| Id::parse(id.as_str()));
            let Some((had, report)) = id.and_then(|id| self.running(id)) else {
                let headers = Word::Unknown.headers();
                let _ = link.publish(reply, None, &headers, Bytes::new()).await;
                continue;
            };
            let mut words = Word::Running.headers();
            words.push((protocol::HAD, millis(had).to_string()));
            let asks = headers.get(protocol::TELL).map(HeaderValue::as_str);
            let (Some(within), Some(teller)) = (asks.and_then(protocol::whole), &self.teller)
            else {
                let _ = link.publish(reply, None, &words, Bytes::new()).await;
                continue;
            };
            let (within, teller) =
                (Duration::from_millis(within).min(LONGEST_LOOK), Arc::clone(teller));
            let Ok(place) = Arc::clone(&self.looks).try_acquire_owned() else {
                let text = "it is being asked by others; ask again\n";
                let _ = link.publish(reply, None, &words, text.into()).await;
                continue;
            };
            let link = link.clone();
            tokio::spawn(async move {
                let look = tokio::task::spawn_blocking(move || {
                    let _place = place;
                    teller(&report, within)
                });
                let text = look.await.unwrap_or_default();
                let _ = link.publish(reply, None, &words, text.into()).await;
            });
        }
    }

    /// How long it has had a call, and what its handler says that it waits for.
    fn running(&self, id: Id) -> Option<(Duration, WaitReport)> {
        let running = lock(&self.running);
        let call = running.get(&id)?;
        Some((call.begun.elapsed(), call.report.clone()))
    }

    pub(super) async fn stop(&self, drain: Duration, mut intakes: JoinSet<()>) {
        self.notices.tell(Notice::Draining { open: self.counts.running() });
        self.stopping.send_replace(true);
        let until = tokio::time::Instant::now() + drain;
        let drained = async {
            while intakes.join_next().await.is_some() {}
            while self.counts.running() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout_at(until, drained).await.is_err() {
            self.over.send_replace(true);
            let told = async {
                while self.counts.running() > 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            let _ = timeout(LAST_CALLS, told).await;
        }
        let links = lock(&self.links).clone();
        for link in links.iter().filter(|link| link.state().is_up) {
            link.round_trip(LAST_CALLS).await;
        }
    }
}
