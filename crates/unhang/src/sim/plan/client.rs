//! What a client will do, and its handler.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use crate::handler::Peer;
use crate::limits::Limits;
use crate::sim::socket::Trap;
use crate::wire::oneshot::ONE_PIECE;

use super::{moment, pick, short};

#[derive(Debug)]
pub(in crate::sim) struct ClientPlan {
    pub(in crate::sim) peer: Option<Peer>,
    pub(in crate::sim) arrives: Duration,
    pub(in crate::sim) room: usize,
    /// What it sends, each piece after a pause.
    pub(in crate::sim) pieces: Vec<(Duration, Bytes)>,
    pub(in crate::sim) then: Then,
    /// Whether it reads only when it has written everything.
    pub(in crate::sim) talks_first: bool,
    pub(in crate::sim) reading: Reading,
    /// When it vanishes after it has connected, whatever it is at.
    pub(in crate::sim) leaves: Option<Duration>,
    /// Whether it holds the connection for as long as the server lets it.
    pub(in crate::sim) stays: bool,
    pub(in crate::sim) trap: Option<(u32, Trap)>,
    pub(in crate::sim) deed: Deed,
    pub(in crate::sim) thinks: Duration,
}

/// What a client does when it has sent its message.
#[derive(Debug)]
pub(in crate::sim) enum Then {
    Wait,
    HalfClose(Duration),
    /// Sends so much more, so many times, each after a pause.
    Flood(usize, usize, Duration),
}

/// So many bytes at a time, so many times, each after a pause; then all, or nothing any more.
#[derive(Debug)]
pub(in crate::sim) struct Reading {
    pub(in crate::sim) step: usize,
    pub(in crate::sim) times: usize,
    pub(in crate::sim) pause: Duration,
    pub(in crate::sim) to_the_end: bool,
}

/// What the handler does when it has thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Deed {
    Reply(usize),
    Tell,
    Fail,
    Panic,
    Never,
    /// Replies so much, after it has blocked its thread for as long as it thinks.
    Block(usize),
}

impl ClientPlan {
    pub(super) fn draw(rng: &mut Rng, id: u32, limits: &Limits) -> Self {
        // The first client may come from nowhere, and is then the only one without a name.
        let named = id > 0 || rng.u8(..10) > 0;
        let peer = named.then(|| Peer { pid: id, uid: rng.u32(1..4), gid: rng.u32(1..4) });
        let message = draw_message(rng, id, limits);
        let deed = match rng.u8(..20) {
            0 => Deed::Tell,
            1 => Deed::Fail,
            2 => Deed::Panic,
            3 => Deed::Never,
            // More than the largest buffer takes, twice over.
            4 => Deed::Reply(rng.usize(..1 << 19)),
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
            talks_first: rng.u8(..4) == 0,
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
fn cut(rng: &mut Rng, message: Vec<u8>, limits: &Limits) -> Vec<(Duration, Bytes)> {
    let (mut message, mut pieces) = (Bytes::from(message), Vec::new());
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
        pieces.push((pause, message.split_to(count)));
    }
    pieces
}
