//! What a seed stands for: the limits, the troubles, and what every client and handler will do.
//! Everything is drawn beforehand, so that a world's story depends on nothing but its seed.

mod client;

use std::time::Duration;

use fastrand::Rng;
use rustix::io::Errno;

use crate::event::Cause;
use crate::limits::Limits;
use crate::wire::oneshot::{ONE_PIECE, Until, error_line};

pub(super) use client::{ClientPlan, Deed, Reading, Then};

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
    /// How many share the listener.
    pub(super) servers: usize,
    /// How many threads of each serve at once what can be.
    pub(super) workers: usize,
    pub(super) trouble: Option<Trouble>,
    /// When the server is stopped; without it, when all clients are done.
    pub(super) stop: Option<Duration>,
    /// When another process that has the listener shuts it.
    pub(super) shut: Option<Duration>,
    /// When somebody loses patience, and how long the drain may take from then on.
    pub(super) hurry: Option<(Duration, Duration)>,
    pub(super) observer: Observer,
    pub(super) clients: Vec<ClientPlan>,
}

/// What becomes of what the server tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observer {
    /// The oracle hears it.
    Listens,
    /// It blocks at its first event, and all room for more is taken.
    Blocks,
    Missing,
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

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let limits = draw_limits(rng);
        let until = *pick(rng, &[Until::Dry, Until::Newline, Until::HalfClose]);
        let clients: Vec<_> =
            (0..rng.u32(1..9)).map(|id| ClientPlan::draw(rng, id, &limits)).collect();
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
            // With room for all: two that are full cannot know that the other has emptied the queue, and turn
            // away a client that has just come.
            servers: if rng.bool() && limits.max_connections > clients.len() { 2 } else { 1 },
            workers: rng.usize(0..3).min(limits.max_connections / 2),
            trouble: (rng.u8(..4) == 0).then(|| Trouble::draw(rng, &limits)),
            stop: rng.bool().then(|| moment(rng, &limits)),
            shut: None,
            hurry: (rng.u8(..8) == 0).then(|| (moment(rng, &limits), short(moment(rng, &limits)))),
            observer: Observer::Listens,
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

pub(super) fn draw_limits(rng: &mut Rng) -> Limits {
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
        max_handlers: *pick(rng, &[None, None, None, Some(1)]),
        idle: None,
    }
}

impl Trouble {
    pub(super) fn draw(rng: &mut Rng, limits: &Limits) -> Self {
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

/// A time: at one of the deadlines, just beside it, or anywhere. In whole milliseconds, as the
/// runtime's timers are.
pub(super) fn moment(rng: &mut Rng, limits: &Limits) -> Duration {
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
pub(super) fn short(moment: Duration) -> Duration {
    Duration::from_millis(u64::try_from(moment.as_millis()).unwrap_or(0) / 4)
}

pub(super) fn pick<'a, T>(rng: &mut Rng, choice: &'a [T]) -> &'a T {
    &choice[rng.usize(..choice.len())]
}
