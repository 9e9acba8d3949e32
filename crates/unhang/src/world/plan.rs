//! What a seed stands for: the limits, the troubles, and what every client and handler will do.
//! Everything is drawn beforehand, so that a world's story depends on nothing but its seed.

use std::time::Duration;

use fastrand::Rng;
use rustix::io::Errno;

use crate::event::Cause;
use crate::handler::Peer;
use crate::limits::Limits;
use crate::wire::oneshot::{ONE_PIECE, Until, error_line};

use super::wire::Trap;

/// A world before it begins.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) limits: Limits,
    pub(super) until: Until,
    pub(super) words: Words,
    pub(super) uids: Vec<u32>,
    pub(super) gids: Vec<u32>,
    pub(super) backlog: usize,
    pub(super) trouble: Option<Trouble>,
    /// When the server is stopped; without it, when all clients are done.
    pub(super) stop: Option<Duration>,
    /// When somebody loses patience, and how long the drain may take from then on.
    pub(super) hurry: Option<(Duration, Duration)>,
    pub(super) clients: Vec<ClientPlan>,
}

/// What a client is told that gets no answer.
#[derive(Debug)]
pub(super) enum Words {
    Line,
    Nothing,
    /// More than fits into a buffer.
    Many,
}

/// A time in which accepting fails, more or less often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    pub(super) begins: Duration,
    pub(super) ends: Duration,
    pub(super) error: Errno,
    /// In percent.
    pub(super) often: u8,
}

#[derive(Debug)]
pub(super) struct ClientPlan {
    pub(super) peer: Option<Peer>,
    pub(super) arrives: Duration,
    pub(super) room: usize,
    /// What it sends, each piece after a pause.
    pub(super) pieces: Vec<(Duration, Vec<u8>)>,
    pub(super) then: Then,
    pub(super) reading: Reading,
    /// When it vanishes after it has connected, whatever it is at.
    pub(super) leaves: Option<Duration>,
    /// Whether it holds the connection for as long as the server lets it.
    pub(super) stays: bool,
    pub(super) trap: Option<(u32, Trap)>,
    pub(super) deed: Deed,
    pub(super) thinks: Duration,
}

/// What a client does when it has sent its message.
#[derive(Debug)]
pub(super) enum Then {
    Wait,
    HalfClose(Duration),
    /// Sends so much more, so many times, each after a pause.
    Flood(usize, usize, Duration),
}

/// So many bytes at a time, so many times, each after a pause; then all, or nothing any more.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) step: usize,
    pub(super) times: usize,
    pub(super) pause: Duration,
    pub(super) to_the_end: bool,
}

/// What the handler does when it has thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Reply(usize),
    Tell,
    Fail,
    Panic,
    Never,
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let limits = draw_limits(rng);
        let until = *pick(rng, &[Until::Dry, Until::Newline, Until::HalfClose]);
        let clients = (0..rng.u32(1..9)).map(|id| ClientPlan::draw(rng, id, &limits)).collect();
        let listed = rng.u8(..10) == 0;
        Self {
            seed,
            until,
            words: match rng.u8(..10) {
                0 => Words::Nothing,
                1 => Words::Many,
                _ => Words::Line,
            },
            uids: if listed { vec![1] } else { Vec::new() },
            gids: if listed { vec![2] } else { Vec::new() },
            backlog: rng.usize(1..10),
            trouble: (rng.u8(..4) == 0).then(|| Trouble::draw(rng, &limits)),
            stop: rng.bool().then(|| moment(rng, &limits)),
            hurry: (rng.u8(..8) == 0).then(|| (moment(rng, &limits), short(moment(rng, &limits)))),
            clients,
            limits,
        }
    }

    /// What a client is told that gets no answer for this cause.
    pub(super) fn told(&self, cause: &Cause) -> Option<Vec<u8>> {
        let line = error_line(&cause.to_string());
        match self.words {
            Words::Line => Some(line),
            Words::Nothing => None,
            Words::Many => Some(line.repeat(100)),
        }
    }
}

fn draw_limits(rng: &mut Rng) -> Limits {
    let mut up_to =
        |most| Duration::from_millis(if rng.u8(..20) == 0 { 0 } else { rng.u64(..most) });
    let (read, handler, write) = (up_to(200), up_to(200), up_to(200));
    let (linger, drain, settle, queue) = (up_to(50), up_to(300), up_to(9), up_to(100));
    let max_request =
        *pick(rng, &[0, 20, 1000, ONE_PIECE, 1 << 16, 1 << 17, 1 << 18, 1 << 18, 1 << 18]);
    Limits {
        read,
        handler,
        write,
        linger,
        drain,
        settle,
        queue,
        max_request,
        max_connections: *pick(rng, &[1, 1, 2, 3, 100]),
        max_per_uid: *pick(rng, &[1, 2, usize::MAX, usize::MAX, usize::MAX]),
        max_held: max_request.saturating_mul(*pick(rng, &[1, 2, usize::MAX, usize::MAX])),
    }
}

impl Trouble {
    fn draw(rng: &mut Rng, limits: &Limits) -> Self {
        let begins = moment(rng, limits);
        let errors = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::CONNABORTED, Errno::INTR];
        Self {
            begins,
            ends: begins + moment(rng, limits),
            error: *pick(rng, &errors),
            often: rng.u8(1..100),
        }
    }
}

impl ClientPlan {
    fn draw(rng: &mut Rng, id: u32, limits: &Limits) -> Self {
        // Who is first may come from nowhere, and is then the only one without a name.
        let named = id > 0 || rng.u8(..10) > 0;
        let peer = named.then(|| Peer { pid: id, uid: rng.u32(1..4), gid: rng.u32(1..4) });
        let message = draw_message(rng, id, limits);
        let deed = match rng.u8(..20) {
            0 => Deed::Tell,
            1 => Deed::Fail,
            2 => Deed::Panic,
            3 => Deed::Never,
            4 => Deed::Reply(rng.usize(..3 << 20)),
            5..8 => Deed::Reply(rng.usize(..1 << 18)),
            _ => Deed::Reply(rng.usize(..2000)),
        };
        let longest = message.len().max(if let Deed::Reply(size) = deed { size } else { 0 });
        let steps = 50;
        let room = (*pick(rng, &[1, 100, 1000, 1 << 16, 212_992])).max(longest / steps);
        Self {
            peer,
            arrives: if rng.bool() { Duration::ZERO } else { moment(rng, limits) },
            room,
            pieces: cut(rng, message, limits),
            then: match rng.u8(..8) {
                0 => Then::HalfClose(moment(rng, limits)),
                1..4 => Then::HalfClose(Duration::ZERO),
                4 => {
                    let bytes = rng.usize(1..=room.min(2000) * 10);
                    Then::Flood(bytes, rng.usize(1..20), moment(rng, limits))
                }
                _ => Then::Wait,
            },
            reading: Reading {
                step: (*pick(rng, &[1, 10, 1000, 1 << 16])).max(longest / steps),
                times: *pick(rng, &[0, 0, 0, 1, 3, 30]),
                pause: moment(rng, limits),
                to_the_end: rng.u8(..6) > 0,
            },
            leaves: (rng.u8(..6) == 0).then(|| moment(rng, limits)),
            stays: rng.u8(..4) == 0,
            trap: (rng.u8(..4) == 0).then(|| {
                let traps = [Trap::Vanish, Trap::Vanish, Trap::Send, Trap::Send, Trap::Fail];
                (rng.u32(..12), *pick(rng, &traps))
            }),
            deed,
            thinks: if rng.bool() { Duration::ZERO } else { moment(rng, limits) },
        }
    }
}

/// A message that names its sender, of a length at which something may change, with newlines.
fn draw_message(rng: &mut Rng, id: u32, limits: &Limits) -> Vec<u8> {
    let edge = *pick(rng, &[0, ONE_PIECE, 1 << 16, 1 << 17, limits.max_request]);
    let length = match rng.u8(..8) {
        0 => 0,
        1 => (edge + rng.usize(..3)).saturating_sub(1),
        2 => rng.usize(..1 << 18),
        _ => rng.usize(1..100),
    };
    let text = format!("request of client {id}, ");
    let mut message = text.repeat(length / text.len() + 1).into_bytes();
    message.truncate(length);
    if let Some(last) = message.last_mut().filter(|_| rng.bool()) {
        *last = b'\n';
    }
    for _ in 0..rng.usize(..3) / 2 {
        if let Some(at) = rng.usize(..=length).checked_sub(1) {
            message[at] = b'\n';
        }
    }
    message
}

/// In pieces, with pauses before them: short ones above all, but one may be longer than a deadline.
fn cut(rng: &mut Rng, mut message: Vec<u8>, limits: &Limits) -> Vec<(Duration, Vec<u8>)> {
    let mut pieces = Vec::new();
    while !message.is_empty() {
        let most = message.len();
        let count = match rng.u8(..4) {
            0 if pieces.len() < 30 => 1,
            1 if pieces.len() < 30 => rng.usize(1..=most),
            _ => most,
        };
        let pause = match rng.u8(..4) {
            0 => short(moment(rng, limits)),
            1 => limits.settle,
            _ => Duration::ZERO,
        };
        let rest = message.split_off(count);
        pieces.push((pause, std::mem::replace(&mut message, rest)));
    }
    pieces
}

/// A time: at one of the deadlines, just beside it, or anywhere. In whole milliseconds, as the
/// runtime's timers are.
fn moment(rng: &mut Rng, limits: &Limits) -> Duration {
    let Limits { read, handler, write, linger, drain, settle, queue, .. } = *limits;
    let deadlines = [read, handler, write, linger, drain, settle, queue, Duration::ZERO];
    let millisecond = Duration::from_millis(1);
    match rng.u8(..6) {
        0 => *pick(rng, &deadlines),
        1 => *pick(rng, &deadlines) + millisecond,
        2 => pick(rng, &deadlines).saturating_sub(millisecond),
        3 => Duration::from_millis(rng.u64(..10)),
        _ => Duration::from_millis(rng.u64(..400)),
    }
}

/// A quarter of it, in whole milliseconds.
fn short(moment: Duration) -> Duration {
    Duration::from_millis(u64::try_from(moment.as_millis()).unwrap_or(0) / 4)
}

fn pick<'a, T>(rng: &mut Rng, choice: &'a [T]) -> &'a T {
    &choice[rng.usize(..choice.len())]
}
