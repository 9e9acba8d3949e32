//! What a seed stands for in a world of kept connections.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use super::speech::Speech;
use crate::handler::Peer;
use crate::limits::Limits;
use crate::sim::handler::filled;
use crate::sim::plan::{Reading, Trouble, draw_limits, moment, pick, short};
use crate::sim::socket::Trap;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) speech: Speech,
    pub(super) limits: Limits,
    pub(super) backlog: usize,
    pub(super) servers: usize,
    pub(super) workers: usize,
    pub(super) trouble: Option<Trouble>,
    /// When the first server is stopped; without it, when all clients are done.
    pub(super) stop: Option<Duration>,
    /// Whether the oracle hears what the servers tell.
    pub(super) is_observed: bool,
    pub(super) clients: Vec<ClientPlan>,
}

#[derive(Debug)]
pub(super) struct ClientPlan {
    pub(super) peer: Peer,
    pub(super) arrives: Duration,
    pub(super) room: usize,
    pub(super) requests: Vec<RequestPlan>,
    /// All requests, and where each of them ends.
    pub(super) ahead: Bytes,
    pub(super) ends: Vec<usize>,
    pub(super) pieces: Vec<Piece>,
    pub(super) then: Then,
    pub(super) reading: Reading,
    /// When it vanishes after it has connected, whatever it is at.
    pub(super) leaves: Option<Duration>,
    pub(super) trap: Option<(u32, Trap)>,
}

#[derive(Debug)]
pub(super) struct RequestPlan {
    pub(super) body: Vec<u8>,
    pub(super) form: Form,
    pub(super) deed: Deed,
    pub(super) thinks: Duration,
}

/// How HTTP says a request; other wires have one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Length,
    Chunked,
    Expect,
    Head,
    /// The last that is to be answered on this connection.
    Close,
}

/// Bytes that are sent in one write, once so many answers were read, and after a pause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) awaits: usize,
    pub(super) pause: Duration,
    pub(super) end: usize,
}

#[derive(Debug)]
pub(super) enum Then {
    Wait,
    HalfClose(Duration),
}

/// What the handler does when it has thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Reply(usize),
    /// So many pieces of such a size, each after a pause; and whether it finishes then.
    Stream(usize, usize, Duration, bool),
    /// A reply that no wire of lines can say.
    Delimiter,
    Tell,
    Fail,
    Panic,
    Never,
    Block(usize),
}

impl RequestPlan {
    /// How many bytes its reply has.
    pub(super) fn says(&self) -> usize {
        match self.deed {
            Deed::Reply(size) | Deed::Block(size) => size,
            Deed::Stream(pieces, size, ..) => pieces * size,
            _ => 0,
        }
    }
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        // Not the numbers of the worlds without kept connections.
        let rng = &mut Rng::with_seed(!seed);
        let mut limits = draw_limits(rng);
        limits.idle = Some(match rng.u8(..5) {
            0 => Duration::MAX,
            _ => Duration::from_millis(rng.u64(..300)),
        });
        // Kept connections want more of both.
        limits.max_per_uid = usize::MAX;
        limits.max_request = limits.max_request.max(*pick(rng, &[0, 1000, 1000]));
        limits.max_held = limits.max_held.max(*pick(rng, &[0, 10_000, 10_000, 10_000]));
        let speech =
            *pick(rng, &[Speech::Lines, Speech::Nul, Speech::Http, Speech::Http, Speech::Goridge]);
        let clients: Vec<_> =
            (0..rng.usize(1..5)).map(|id| ClientPlan::draw(rng, id, speech, &limits)).collect();
        Self {
            seed,
            speech,
            backlog: rng.usize(1..10),
            // With room for all, see the plan of the other worlds.
            servers: if rng.bool() && limits.max_connections > clients.len() { 2 } else { 1 },
            workers: rng.usize(0..3).min(limits.max_connections / 2),
            trouble: (rng.u8(..4) == 0).then(|| Trouble::draw(rng, &limits)),
            stop: rng.bool().then(|| moment(rng, &limits)),
            is_observed: true,
            clients,
            limits,
        }
    }

    /// Whether a handler blocks the thread that it is asked on.
    pub(super) fn blocks(&self) -> bool {
        self.blocked() > Duration::ZERO
    }

    /// For how long handlers block their threads, all together.
    pub(super) fn blocked(&self) -> Duration {
        let requests = self.clients.iter().flat_map(|client| &client.requests);
        let blocking = requests.filter(|request| matches!(request.deed, Deed::Block(_)));
        blocking.map(|request| request.thinks).sum()
    }
}

impl ClientPlan {
    fn draw(rng: &mut Rng, id: usize, speech: Speech, limits: &Limits) -> Self {
        let count = if rng.u8(..20) == 0 { 70 } else { *pick(rng, &[0, 1, 2, 3, 5, 8]) };
        // Many are quick ones.
        let plain = count > 10;
        let requests: Vec<_> = (0..count)
            .map(|nth| RequestPlan::draw(rng, (id, nth), speech, plain, limits))
            .collect();
        let steps = 50;
        let longest = requests.iter().map(|request| request.says().max(request.body.len())).max();
        let longest = longest.unwrap_or(0);
        let pieces = |rng: &mut Rng, ends: &[usize]| cut(rng, ends, limits);
        let peer = Peer { pid: u32::try_from(id).unwrap(), uid: 1, gid: 1 };
        let mut plan = Self::new(peer, requests, speech);
        plan.arrives = if rng.bool() { Duration::ZERO } else { moment(rng, limits) };
        plan.room = (*pick(rng, &[100, 1000, 1 << 16, 212_992])).max(longest / steps);
        plan.pieces = pieces(rng, &plan.ends);
        if let Some(last) = plan.pieces.last_mut().filter(|_| rng.u8(..8) == 0) {
            // It stops in the midst of a request.
            last.end -= 1;
        }
        plan.then = match rng.u8(..4) {
            0 => Then::HalfClose(if rng.bool() { Duration::ZERO } else { moment(rng, limits) }),
            _ => Then::Wait,
        };
        plan.reading = Reading {
            step: (*pick(rng, &[10, 1000, 1 << 16])).max(longest / steps),
            times: *pick(rng, &[0, 0, 0, 1, 3, 30]),
            pause: moment(rng, limits),
            to_the_end: rng.u8(..6) > 0,
        };
        let endless = limits.idle == Some(Duration::MAX);
        plan.leaves = (endless || rng.u8(..6) == 0).then(|| moment(rng, limits));
        plan.trap = (rng.u8(..3) == 0).then(|| {
            let traps = [Trap::Vanish, Trap::Fail, Trap::Ahead(1), Trap::Ahead(rng.usize(1..200))];
            (rng.u32(..20), traps[[0, 1, 2, 3, 3, 3, 3][rng.usize(..7)]])
        });
        plan
    }

    /// A patient one, that sends all its requests in one write.
    pub(super) fn new(peer: Peer, requests: Vec<RequestPlan>, speech: Speech) -> Self {
        let (mut ahead, mut ends) = (Vec::new(), Vec::new());
        for (nth, request) in requests.iter().enumerate() {
            speech.request(peer.pid, nth, request, &mut ahead);
            ends.push(ahead.len());
        }
        let end = ahead.len();
        Self {
            peer,
            arrives: Duration::ZERO,
            room: 1 << 16,
            requests,
            ahead: ahead.into(),
            ends,
            pieces: vec![Piece { awaits: 0, pause: Duration::ZERO, end }],
            then: Then::Wait,
            reading: Reading { step: 1, times: 0, pause: Duration::ZERO, to_the_end: true },
            leaves: None,
            trap: None,
        }
    }
}

impl RequestPlan {
    fn draw(
        rng: &mut Rng,
        (id, nth): (usize, usize),
        speech: Speech,
        plain: bool,
        limits: &Limits,
    ) -> Self {
        let form = match rng.u8(..20) {
            0 => Form::Close,
            1 | 2 if nth > 0 => Form::Head,
            3 => Form::Expect,
            4..10 => Form::Chunked,
            _ => Form::Length,
        };
        let form = if speech == Speech::Http { form } else { Form::Length };
        let length = match rng.u8(..30) {
            0 => (limits.max_request + rng.usize(..3)).saturating_sub(1).min(1 << 17),
            1 => rng.usize(..1 << 13),
            _ => rng.usize(..60),
        };
        let deed = match rng.u8(..if plain { 100 } else { 30 }) {
            0 => Deed::Tell,
            1 => Deed::Fail,
            2 => Deed::Panic,
            3 => Deed::Never,
            4 => Deed::Reply(rng.usize(..1 << 17)),
            5 | 6 => Deed::Block(rng.usize(..200)),
            7 if matches!(speech, Speech::Lines | Speech::Nul) => Deed::Delimiter,
            8..11 => {
                let pause = if rng.bool() { Duration::ZERO } else { short(moment(rng, limits)) };
                let size = *pick(rng, &[1, 50, 3000]);
                Deed::Stream(rng.usize(1..6), size, pause, rng.u8(..6) > 0)
            }
            _ => Deed::Reply(rng.usize(..200)),
        };
        let thinks = match rng.u8(..4) {
            0 if !plain => moment(rng, limits),
            1 if !plain => short(moment(rng, limits)),
            _ => Duration::ZERO,
        };
        Self::new((id, nth), length, form, deed, thinks)
    }

    pub(super) fn new(
        (id, nth): (usize, usize),
        length: usize,
        form: Form,
        deed: Deed,
        thinks: Duration,
    ) -> Self {
        let mut body = format!("{id} {nth} ").into_bytes();
        body.resize(length.max(body.len()), b'x');
        Self { body: if form == Form::Head { Vec::new() } else { body }, form, deed, thinks }
    }
}

/// In one write, request by request, in any pieces, or each request only once the one before is answered.
fn cut(rng: &mut Rng, ends: &[usize], limits: &Limits) -> Vec<Piece> {
    let Some(&all) = ends.last() else { return Vec::new() };
    let pause = |rng: &mut Rng| match rng.u8(..3) {
        0 => short(moment(rng, limits)),
        _ => Duration::ZERO,
    };
    match rng.u8(..4) {
        0 => vec![Piece { awaits: 0, pause: pause(rng), end: all }],
        1 => {
            let most = ends.len();
            let one = |(nth, &end): (usize, &usize)| Piece {
                awaits: nth.min(most),
                pause: pause(rng),
                end,
            };
            ends.iter().enumerate().map(one).collect()
        }
        2 => ends.iter().map(|&end| Piece { awaits: 0, pause: pause(rng), end }).collect(),
        _ => {
            let (mut pieces, mut end) = (Vec::new(), 0);
            while end < all {
                let left = all - end;
                end += if pieces.len() < 20 { rng.usize(1..=left.min(100)) } else { left };
                pieces.push(Piece { awaits: 0, pause: pause(rng), end });
            }
            pieces
        }
    }
}

/// A reply that no other request gets, and in which no byte can be missing unseen.
pub(super) fn words(id: usize, nth: usize, size: usize) -> Vec<u8> {
    filled(format!("client {id} request {nth}, "), size)
}
