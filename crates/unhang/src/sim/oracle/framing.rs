//! Whether a request is what its client sent, up to where it ends and not a moment later: the
//! rules of [`Until`] once more, seen from the times at which the bytes came.

use std::time::{Duration, Instant};

use crate::sim::socket::{Facts, Side};
use crate::sim::{World, clock};
use crate::wire::oneshot::{ONE_PIECE, Until};

/// A request that the handler is asked with now.
pub(super) fn check(world: &World, facts: &Facts, request: &[u8]) -> Result<(), &'static str> {
    let now = clock::now();
    let length = request.len();
    if !facts.sent.starts_with(request) {
        return Err("the request is not what the client sent");
    }
    if facts.sent.is_empty() && facts.left.is_some_and(|left| Some(left) < facts.accepted) {
        return Err("asked for a client that had left without a byte");
    }
    // A client that is done with its side ends its request with all that it has sent. Where it has
    // left, nothing shows when.
    let all = length == facts.sent.len();
    match facts.client {
        Side::HalfClosed(at) if all && now == seen(facts, at) => return Ok(()),
        Side::Gone | Side::Reset if all => return Ok(()),
        _ => {}
    }
    let newline = request.iter().position(|&byte| byte == b'\n');
    match world.plan.until {
        Until::HalfClose => Err("asked before the half-close, or not at once after it"),
        Until::Newline if newline.is_none_or(|at| at + 1 < length) => {
            Err("the request does not end at its first newline")
        }
        Until::Newline => match now == came(facts, length) {
            true => Ok(()),
            false => Err("not asked when the newline came"),
        },
        Until::Dry if length == 0 => Err("asked before anything came"),
        Until::Dry => {
            let last = came(facts, length);
            if now != if length > ONE_PIECE { settled(world, facts, last) } else { last } {
                return Err("not asked when the request had settled");
            }
            match facts.sent.len() > length && came(facts, length + 1) < now {
                true => Err("cut, though more had come before"),
                false => Ok(()),
            }
        }
    }
}

/// When a pause since then ends a long request: four times as long as it took until then, at least.
fn settled(world: &World, facts: &Facts, last: Instant) -> Instant {
    let took = facts.accepted.map_or(Duration::ZERO, |accepted| last - accepted);
    last + world.plan.limits.settle.max(took * 4)
}

/// Whether the request was surely whole before then.
pub(super) fn is_whole_before(world: &World, facts: &Facts, then: Instant) -> bool {
    let before = |at: Instant| seen(facts, at) < then;
    if matches!(facts.client, Side::HalfClosed(at) if before(at)) {
        return true;
    }
    match world.plan.until {
        Until::HalfClose => false,
        Until::Newline => {
            let newline = facts.sent.iter().position(|&byte| byte == b'\n');
            newline.is_some_and(|at| came(facts, at + 1) < then)
        }
        Until::Dry => {
            let times = || facts.arrivals.iter().map(|&(at, _)| seen(facts, at));
            let Some(first) = times().next().filter(|&at| at < then) else { return false };
            // Bytes of one moment may be seen as one piece, or as several.
            let together = times().take_while(|&at| at == first).count();
            if facts.arrivals[together - 1].1 <= ONE_PIECE {
                return true;
            }
            let mut last = first;
            for at in times() {
                if at > settled(world, facts, last) {
                    break;
                }
                last = at;
            }
            settled(world, facts, last) < then
        }
    }
}

/// When the server could see the last of so many bytes.
fn came(facts: &Facts, length: usize) -> Instant {
    let arrival = facts.arrivals.iter().find(|&&(_, sent)| sent >= length);
    seen(facts, arrival.map_or(facts.connected, |&(at, _)| at))
}

/// Bytes that came while the connection waited in the accept queue are seen when it is accepted.
fn seen(facts: &Facts, at: Instant) -> Instant {
    facts.accepted.map_or(at, |accepted| at.max(accepted))
}
