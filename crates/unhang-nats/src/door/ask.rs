//! One call with all that it needs of the door: what the call's value says is to be done, is done here.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};
use unhang::Request;

use super::shared::{End, Shared, Waiting, lock};
use crate::call::{Call, Input, Outcome, Step};
use crate::clock::{millis, wall};
use crate::link::State;
use crate::protocol::{self, Id, Question, Word, fits};

/// A worker has so much less than the door, so that its reason comes before the door's own.
const MARGIN: Duration = Duration::from_millis(50);

/// Without a connection a call may wait so long: it was not sent, so it may still be. Longer, and callers
/// pile up behind a cluster that is gone.
const HOLD: Duration = Duration::from_millis(250);

/// A wait that ends by more than this too late is one in which this process stood still: what came meanwhile lies
/// unread, and gets as long again to be read, up to `HOLD`.
const STOOD_STILL: Duration = Duration::from_millis(20);

/// One call.
pub(super) struct Ask<'a> {
    shared: &'a Shared,
    pub(super) id: Id,
    pub(super) call: Call,
    payload: Bytes,
    peer: Option<u32>,
    trace: Option<String>,
    /// What was sent and may be answered: one call, or the questions which worker is free.
    tries: Vec<Try<'a>>,
    sender: mpsc::UnboundedSender<Message>,
    replies: mpsc::UnboundedReceiver<Message>,
    /// The connection that was tried last, from 0.
    last: Option<usize>,
    /// The connection on which a worker said that it is free: it lives.
    proven: Option<usize>,
}

/// One sending. Dropped, it hears no more.
struct Try<'a> {
    at: usize,
    end: &'a End,
    token: Id,
    epoch: u64,
    state: watch::Receiver<State>,
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        lock(&self.end.tries).remove(&self.token);
        self.end.link.open_calls().fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ask<'_> {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.id);
    }
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Seek,
}

impl<'a> Ask<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        request: &Request,
        begun: Instant,
        budget: Duration,
    ) -> Self {
        let trace =
            request.header(protocol::TRACE).and_then(|value| std::str::from_utf8(value).ok());
        let (id, number) = (Id::new(), shared.numbers.fetch_add(1, Ordering::Relaxed));
        shared.waiting().insert(id, Waiting { id, number, worker: None, since: begun });
        request.waits_for_call(number);
        let call = Call::new(shared.times.clone(), begun, budget, shared.is_idempotent);
        let (sender, replies) = mpsc::unbounded_channel();
        Self {
            shared,
            id,
            call: if shared.is_wary() { call.wary() } else { call },
            payload: Bytes::copy_from_slice(request.bytes()),
            peer: request.peer().map(|peer| peer.uid),
            trace: trace.filter(|trace| protocol::is_trace(trace)).map(str::to_owned),
            tries: Vec::new(),
            sender,
            replies,
            last: None,
            proven: None,
        }
    }

    /// Until its end: how it went, and the bytes that came.
    pub(super) async fn run(&mut self) -> (Outcome, Bytes) {
        let (outcome, came) = self.steps().await;
        let is_swallowed = matches!(outcome, Outcome::NotAccepted | Outcome::Silent);
        if is_swallowed || self.call.unanswered > 0 {
            self.shared.be_wary();
        }
        (outcome, came)
    }

    async fn steps(&mut self) -> (Outcome, Bytes) {
        let mut step = self.call.on(Instant::now(), Input::Tick);
        let mut came = Bytes::new();
        loop {
            let sent = match step {
                Step::Done(outcome) => return (outcome, came),
                Step::Send(at) => self.send(at, Kind::Call).await,
                Step::Seek(at) => self.send(at, Kind::Seek).await,
                Step::Probe(worker, until) => {
                    self.probe(&worker).await;
                    Ok(until)
                }
                Step::Wait(until) => Ok(until),
            };
            step = match sent {
                Ok(until) => {
                    let input = self.next(until, &mut came).await;
                    self.call.on(Instant::now(), input)
                }
                Err(outcome) => Step::Done(self.call.in_truth(outcome)),
            };
        }
    }

    async fn send(&mut self, at: Instant, kind: Kind) -> Result<Instant, Outcome> {
        if kind == Kind::Call {
            // From here on only its own answer counts.
            self.tries.clear();
        }
        // A timer that is due already fires with the next millisecond all the same.
        if at > Instant::now() {
            sleep_until(at.into()).await;
        }
        let (at, token) = self.begin().await?;
        let now = Instant::now();
        let left = self.call.until().saturating_duration_since(now).saturating_sub(MARGIN);
        let question = Question {
            id: self.id,
            left,
            by: wall().saturating_add(millis(self.shared.times.accept.min(left))),
            peer: self.peer,
            is_idempotent: self.shared.is_idempotent,
            is_seek: kind == Kind::Seek,
            trace: self.trace.clone(),
        };
        let link = &self.shared.ends[at].link;
        let (headers, reply) = (question.headers(), format!("{}.{token}", link.inbox));
        if !fits(&headers, self.payload.len(), link.client.max_payload()) {
            return Err(Outcome::TooLarge);
        }
        let service = &self.shared.subject;
        let (subject, payload) = match (kind, self.call.chosen()) {
            (Kind::Seek, _) => (service.clone(), Bytes::new()),
            (Kind::Call, None) => (service.clone(), self.payload.clone()),
            (Kind::Call, Some(direct)) => {
                (protocol::direct_subject(service, direct), self.payload.clone())
            }
        };
        if link.publish(subject, Some(reply), &headers, payload).await.is_err() {
            // It was never given to the connection, so it cannot run.
            return Err(Outcome::NotConnected);
        }
        Ok(match kind {
            Kind::Call => self.call.sent(now),
            Kind::Seek => self.call.sought(now),
        })
    }

    /// Finds a connection, and has its replies come here: from then on a loss is a loss of this try.
    async fn begin(&mut self) -> Result<(usize, Id), Outcome> {
        let is_up = |at: &usize| self.shared.ends[*at].link.is(&|it| it.is_up && !it.is_silent);
        let at = if let Some(at) = self.proven.take().filter(is_up) {
            at
        } else {
            let hold = HOLD.min(self.call.until().saturating_duration_since(Instant::now()));
            let usable = timeout(hold, self.shared.usable(self.last)).await;
            usable.map_err(|_| Outcome::NotConnected)?
        };
        let Some(end) = self.shared.ends.get(at) else { return Err(Outcome::NotConnected) };
        self.last = Some(at);
        let token = Id::new();
        end.link.open_calls().fetch_add(1, Ordering::SeqCst);
        lock(&end.tries).insert(token, self.sender.clone());
        let state = end.link.states();
        let epoch = state.borrow().epoch;
        self.tries.push(Try { at, end, token, epoch, state });
        Ok((at, token))
    }

    async fn probe(&self, worker: &str) {
        let Some(current) = self.tries.last() else { return };
        // Not the call's own token: a node's word that nobody is there must be known for which of the two.
        let reply = format!("{}.p.{}", current.end.link.inbox, current.token);
        let headers = [(protocol::ID, self.id.to_string())];
        let subject = protocol::worker_subject(worker);
        // If it cannot be sent, no answer comes, which is what it means.
        let _ = current.end.link.publish(subject, Some(reply), &headers, Bytes::new()).await;
    }

    /// What comes next, until then.
    async fn next(&mut self, until: Instant, came: &mut Bytes) -> Input {
        let (mut until, mut is_longer) = (until, false);
        loop {
            let Some(current) = self.tries.last_mut() else { return Input::Tick };
            let epoch = current.epoch;
            let message = tokio::select! {
                biased;
                message = self.replies.recv() => message,
                _ = current.state.wait_for(|it| it.epoch != epoch) => {
                    // A reply that came before the loss counts.
                    match self.replies.try_recv() {
                        Ok(message) => Some(message),
                        Err(_) => return Input::LinkLost,
                    }
                }
                () = sleep_until(until.into()) => {
                    let now = Instant::now();
                    let late = now.saturating_duration_since(until);
                    if is_longer || late < STOOD_STILL || now >= self.call.until() {
                        return Input::Tick;
                    }
                    (until, is_longer) = (now + late.min(HOLD), true);
                    continue;
                }
            };
            let Some(message) = message else { return Input::LinkLost };
            if let Some(input) = self.read(message, came) {
                return input;
            }
        }
    }

    /// None if it is nothing that counts.
    fn read(&mut self, message: Message, came: &mut Bytes) -> Option<Input> {
        let subject = message.subject.as_str();
        let token = subject.rsplit('.').next().and_then(Id::parse)?;
        // A try that is over may have had a reply under way to here.
        let at = self.tries.iter().find(|one| one.token == token)?.at;
        let is_of_probe = subject.contains(".p.");
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Some(if is_of_probe { Input::WorkerGone } else { Input::NoWorker });
        }
        let headers = message.headers.unwrap_or_default();
        let word = Word::read(|name: &str| headers.get(name).map(async_nats::HeaderValue::as_str))?;
        // Only a call's own reply is its answer, and only a probe's tells of a probe.
        let is_probe_word = matches!(word, Word::Running | Word::Unknown);
        if is_of_probe != is_probe_word {
            return None;
        }
        match word {
            Word::Answer | Word::Failed { .. } => *came = message.payload,
            Word::Free { .. } => self.proven = Some(at),
            _ => {}
        }
        self.shared.hear(self.id, &word);
        Some(Input::Word(word))
    }
}
