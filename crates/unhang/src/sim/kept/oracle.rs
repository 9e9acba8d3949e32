//! What must hold on kept connections, whatever happens: what the server says is compared with what the
//! sockets show.

mod ending;
mod refusal;

use std::time::{Duration, Instant};

use super::handler::reply;
use super::plan::{ClientPlan, Form};
use super::speech::{Answer, Speech};
use super::{Client, World};
use crate::event::{Cause, Ended, Event, Exchange, Scarce};
use crate::handler::Request;
use crate::limits::{ACCEPT_PAUSE, QUEUE_CHECK, READER_CHECK, WORKER_CHECK};
use crate::sim::clock;
use crate::sim::socket::{Facts, Trap};

#[cfg(test)]
pub(super) use ending::ENDINGS;

/// When a handler is asked: which request of which client that is.
pub(super) fn asked(world: &World, request: &Request) -> Option<(usize, usize)> {
    let id = request.peer()?.pid as usize;
    let violates = |what: &str| world.violates(format!("client {id}: {what}"));
    let number = match world.plan.speech {
        Speech::Http => {
            request.target().and_then(|target| target.rsplit('/').next().map(String::from))
        }
        _ => request.text().split(' ').nth(1).map(String::from),
    };
    let nth = number.and_then(|number| number.parse::<usize>().ok());
    let plan = &world.plan.clients[id];
    let Some((nth, planned)) = nth.and_then(|nth| Some((nth, plan.requests.get(nth)?))) else {
        violates("the handler was asked what no client has asked");
        return None;
    };
    if request.bytes() != planned.body {
        violates("the request is not what the client sent");
    }
    if request.bytes().len() > world.plan.limits.max_request {
        violates("a request longer than the limit was served");
    }
    let mut clients = world.clients.lock().unwrap();
    let client = &mut clients[id];
    if client.asked.iter().any(|&(before, _)| before == nth) {
        violates("the handler was asked twice");
    }
    // One that has no time at all may be asked when its client was told so already.
    let has_time = !world.plan.limits.handler.is_zero();
    if has_time && client.asked.last().is_some_and(|&(before, _)| before > nth) {
        violates("the handler was asked out of turn");
    }
    let Some(facts) = client.socket.as_ref().map(|socket| socket.facts()) else {
        violates("asked without a connection");
        return None;
    };
    if facts.sent.len() < plan.ends[nth] {
        violates("asked before the request was whole");
    }
    let held = world.servers[facts.server].gauges.request_bytes();
    if held > world.plan.limits.max_held {
        violates("more bytes are held than may be");
    }
    drop(facts);
    client.asked.push((nth, clock::now()));
    Some((id, nth))
}

/// When the server tells of something.
pub(super) fn event(world: &World, event: &Event) {
    if let Event::Exchange(exchange) = event {
        let Some(peer) = exchange.peer else {
            return world.violates("an exchange without a client");
        };
        world.counts(&ending::name(&exchange.ended));
        let mut clients = world.clients.lock().unwrap();
        clients[peer.pid as usize].told.push((clock::now(), exchange.clone()));
    }
}

/// When the servers have stopped and every client left.
pub(super) fn after_all(world: &World) {
    for (id, client) in world.clients.lock().unwrap().iter().enumerate() {
        let Some(socket) = &client.socket else { continue };
        let facts = socket.facts();
        let plan = &world.plan.clients[id];
        let case = Case { world, id, plan, client, facts: &facts };
        for what in case.check() {
            world.violates(format!("client {id}: {what}"));
        }
    }
    for server in &world.servers {
        let gauges = &server.gauges;
        if gauges.connections() != 0 || gauges.request_bytes() != 0 || gauges.idle() != 0 {
            world.violates(format!("the gauges are not back at zero: {gauges:?}"));
        }
        if !server.holds_nothing() {
            world.violates("bytes are held by nobody");
        }
    }
}

/// Whether its reply, or a part of it, did not come to the client.
fn is_lost(ended: &Ended) -> bool {
    matches!(ended, Ended::Cut(_) | Ended::ReplyNotTaken | Ended::ClientGone(_) | Ended::Failed(..))
}

/// A client, when all is over.
struct Case<'a> {
    world: &'a World,
    id: usize,
    plan: &'a ClientPlan,
    client: &'a Client,
    facts: &'a Facts,
}

impl Case<'_> {
    fn check(&self) -> Vec<String> {
        let facts = self.facts;
        let mut wrong: Vec<_> = facts.offences.iter().map(ToString::to_string).collect();
        let Some(closed) = facts.closed else { return vec!["never closed".into()] };
        let Some(accepted) = facts.accepted else { return wrong };
        if accepted > self.latest_accept() {
            wrong.push("left waiting in the accept queue".into());
        }
        let answers = match self.world.plan.speech.answers(&facts.written, &self.plan.requests) {
            Ok(answers) => answers,
            Err(what) => return vec![what],
        };
        if !self.world.plan.is_observed {
            // The rest is judged with an observer: what clients see must be the same.
            wrong.extend(self.are_its_own(&answers));
            return wrong;
        }
        wrong.extend(self.in_turn(&answers));
        wrong.extend(self.none_lost(&answers));
        wrong.extend(self.asked_promptly(accepted));
        wrong.extend(self.ended_for_a_reason(&answers, accepted, closed));
        wrong
    }

    /// Each answer is of its own request, if nobody was told how that ended.
    fn are_its_own(&self, answers: &[Answer]) -> Vec<String> {
        let is_its_own = |(at, answer): (usize, &Answer)| {
            let of_it = answer.sequence.is_none_or(|sequence| sequence as usize == at);
            let says = |request| answer.body == reply(request, self.id, at);
            of_it && (answer.is_refusal || self.plan.requests.get(at).is_some_and(says))
        };
        let others = answers.iter().enumerate().filter(|&one| !is_its_own(one));
        others.map(|(at, _)| format!("answer {at} is of another request")).collect()
    }

    /// Each answer is of its own request, whole, and as the server told of it.
    fn in_turn(&self, answers: &[Answer]) -> Vec<String> {
        let mut wrong = Vec::new();
        let told = &self.client.told;
        for (at, (when, exchange)) in told.iter().enumerate() {
            if exchange.nth != at as u64 + 1 {
                wrong.push(format!("exchange {} was told as {}", at + 1, exchange.nth));
            }
            wrong.extend(match answers.get(at) {
                Some(answer) => self.is_answer(at, answer, exchange),
                None => self.has_none(at, exchange),
            });
            if let Ended::Refused(cause) = &exchange.ended {
                if !self.is_caused(at, cause, *when) {
                    wrong.push(format!("request {at} should not have been told {cause}"));
                }
            }
        }
        if answers.len() > told.len() {
            wrong.push(format!("{} answers, and {} exchanges", answers.len(), told.len()));
        }
        let end = answers.last().map_or(0, |answer| answer.end);
        if end < self.facts.written.len() && !self.is_cut() && !self.is_interim(end) {
            wrong.push("the last answer is in part, and nobody says why".into());
        }
        let out: usize = told.iter().map(|(_, exchange)| exchange.bytes_out).sum();
        // An exchange that was gathered is told with all that it was to have.
        if out != self.facts.written.len() && !self.is_cut() && !self.has_interim() {
            wrong.push(format!(
                "{out} bytes out are told, {} were written",
                self.facts.written.len()
            ));
        }
        wrong
    }

    /// What asks a client to go on with its request is no part of an answer.
    fn is_interim(&self, end: usize) -> bool {
        self.facts.written[end..].starts_with(b"HTTP/1.1 100 ")
    }

    fn has_interim(&self) -> bool {
        self.plan.requests.iter().any(|request| request.form == Form::Expect)
    }

    fn is_answer(&self, at: usize, answer: &Answer, exchange: &Exchange) -> Option<String> {
        let request = self.plan.requests.get(at);
        if answer.sequence.is_some_and(|sequence| sequence as usize != at) {
            return Some(format!("answer {at} is of request {:?}", answer.sequence));
        }
        let (says, refused) = match &exchange.ended {
            Ended::Refused(cause) => (cause.to_string().into_bytes(), true),
            // It was gathered with others that could not be written.
            ended if is_lost(ended) && answer.is_refusal => return None,
            _ => match request {
                Some(request) => (reply(request, self.id, at), false),
                None => return Some(format!("answer {at} is of no request")),
            },
        };
        let mut said = answer.body.clone();
        if refused && self.world.plan.speech == Speech::Http && said.pop().is_none() {
            // To HEAD: there is the status alone.
            said.clone_from(&says);
        }
        (said != says || answer.is_refusal != refused).then(|| {
            let shown = |bytes: &[u8]| bytes[..bytes.len().min(60)].escape_ascii().to_string();
            format!("answer {at} is {}, and was to be {}", shown(&said), shown(&says))
        })
    }

    fn has_none(&self, at: usize, exchange: &Exchange) -> Option<String> {
        let may = match exchange.ended {
            Ended::Answered => false,
            Ended::NoRequest => at == 0 && self.facts.sent.is_empty(),
            // The client has left, or it did not read why there is no answer.
            Ended::Refused(_) => self.is_cut() || self.world.plan.speech == Speech::Goridge,
            _ => true,
        };
        (!may).then(|| format!("exchange {at} is {:?}, and nothing was said", exchange.ended))
    }

    /// Each request that the kernel took is answered or told.
    fn none_lost(&self, answers: &[Answer]) -> Option<String> {
        let sent = self.facts.sent.len();
        let whole = self.plan.ends.iter().filter(|&&end| end <= sent).count();
        let begun =
            whole + usize::from(sent > self.plan.ends[..whole].last().copied().unwrap_or(0));
        let told = self.client.told.len();
        let closes = |at: usize| self.plan.requests[at].form == Form::Close;
        if told >= begun || self.is_cut() || (0..told.min(begun)).any(closes) || self.is_fatal() {
            return None;
        }
        let (answered, over) = (answers.len(), self.facts.shut_over);
        Some(format!(
            "{begun} requests begun, {whole} whole, {answered} answered, {over} bytes at the shut"
        ))
    }

    /// Whether the last exchange ended the connection so that nobody knows, or needs to know, what follows.
    fn is_fatal(&self) -> bool {
        use Cause::{Malformed, RequestLate, RequestTooLong, Stopping};
        let Some((_, exchange)) = self.client.told.last() else { return false };
        let Ended::Refused(cause) = &exchange.ended else { return false };
        let turned_away = exchange.nth == 1 && self.is_turned_away(cause);
        turned_away
            || matches!(cause, Cause::Busy(Scarce::Memory { .. } | Scarce::Kernel))
            || matches!(cause, Malformed(_) | RequestLate { .. } | RequestTooLong { .. } | Stopping)
    }

    /// Whether the client may have the beginning of an answer alone, or none.
    fn is_cut(&self) -> bool {
        let last = self.client.told.last();
        let failed = matches!(self.plan.trap, Some((_, Trap::Fail))) && self.facts.trap.is_none();
        self.facts.is_left() && !self.left_last()
            || failed
            || last
                .is_some_and(|(_, exchange)| is_lost(&exchange.ended) || self.is_unread(exchange))
    }

    /// Whether the client did not even read why it gets no answer.
    fn is_unread(&self, exchange: &Exchange) -> bool {
        let (facts, Ended::Refused(cause)) = (self.facts, &exchange.ended) else { return false };
        let late = facts.last_written().map(|at| at + self.world.plan.limits.write);
        let drained = self.drained() <= facts.closed && self.drained().is_some();
        let turned_away = exchange.nth == 1 && self.is_turned_away(cause);
        facts.written.len() >= facts.room && (turned_away || drained || late <= facts.closed)
    }

    /// Whether the client had left only when the server had closed.
    fn left_last(&self) -> bool {
        self.facts.left.zip(self.facts.closed).is_some_and(|(left, closed)| left > closed)
    }

    /// Each request is handled as soon as it is whole and the one before is over.
    fn asked_promptly(&self, accepted: Instant) -> Vec<String> {
        if self.world.plan.blocks() {
            return Vec::new();
        }
        let late = |&(nth, at): &(usize, Instant)| {
            let before = nth.checked_sub(1).and_then(|before| self.client.told.get(before));
            let free = before.map_or(accepted, |&(told, _)| told);
            // After a turn, a client that has not read is looked after a little later.
            let may_be_full = nth > 64 && self.facts.written.len() >= self.facts.room;
            let slack = if may_be_full { READER_CHECK } else { Duration::ZERO };
            let due = self.came(self.plan.ends[nth])?.max(free).max(accepted) + slack;
            (at > due).then(|| format!("request {nth} was asked {:?} late", at - due))
        };
        self.client.asked.iter().filter_map(late).collect()
    }

    /// When the client had sent so many bytes.
    fn came(&self, length: usize) -> Option<Instant> {
        let arrival = self.facts.arrivals.iter().find(|&&(_, sent)| sent >= length);
        arrival.map(|&(at, _)| at)
    }

    fn drained(&self) -> Option<Instant> {
        self.world.servers[self.facts.server].stop.end()
    }

    /// See the oracle of the other worlds.
    fn latest_accept(&self) -> Instant {
        let (world, facts) = (self.world, self.facts);
        let trouble = world.plan.trouble.map(|trouble| world.begun + trouble.ends + ACCEPT_PAUSE);
        let able = facts.connected.max(trouble.unwrap_or(facts.connected));
        let shared = if world.servers.len() > 1 { QUEUE_CHECK } else { Duration::ZERO };
        // A handler may block the worker that was woken: that is seen at the second look.
        let blocked = if world.plan.blocks() { 3 * WORKER_CHECK } else { Duration::ZERO };
        let latest = able + world.plan.limits.queue.max(shared) + blocked;
        self.drained().map_or(latest, |drained| latest.min(drained.max(able) + blocked))
    }
}
