//! How clients behave: each behaviour is one exchange, and says what must come of it.

use std::time::Duration;

use fastrand::Rng;

use crate::exchange::{End, Exchange};
use crate::passing;
use crate::service::{self, HANDLER, LINGER, READ, UNKNOWN, WRITE};

/// What the promise says must come back.
pub(crate) enum Wanted {
    /// Exactly this.
    Reply(Vec<u8>),
    /// This, by a handler that waits: another that blocks the thread which it was to go on in makes
    /// it late, and then its client is told so.
    Slept(Vec<u8>),
    /// The time, as `unhang serve` tells it.
    Time,
    /// The line `ERR <reason>`.
    Refusal(String),
    /// The same for a request that was sent with a pause; or any refusal, as its server may not wait for it.
    TimeOrTold,
    /// A refusal: the server ended the exchange before the request was whole. Any other reply is to a part of
    /// the request.
    Told,
    /// No more than the beginning of it, as the client did not take it in time.
    PartOf(Vec<u8>),
    /// The end.
    Nothing,
}

/// What was to come, how it ended, and the deadline that should have ended it.
pub(crate) struct Outcome {
    pub(crate) wanted: Wanted,
    pub(crate) end: End,
    pub(crate) deadline: Option<Duration>,
}

pub(crate) struct Behaviour {
    pub(crate) name: &'static str,
    pub(crate) play: fn(&mut Exchange, &mut Rng) -> Outcome,
}

/// Towards the echo, in which a request ends at a newline or a half-close.
pub(crate) const GOOD: &[Behaviour] = &[
    Behaviour { name: "line", play: |it, rng| ask(it, rng, 1000, true) },
    Behaviour { name: "half-close", play: |it, rng| ask(it, rng, 1000, false) },
    Behaviour { name: "large line", play: |it, rng| ask(it, rng, 1 << 20, true) },
    Behaviour { name: "large, half-close", play: |it, rng| ask(it, rng, 1 << 20, false) },
    Behaviour { name: "in pieces", play: in_pieces },
    Behaviour { name: "more after the request", play: more_after },
    Behaviour { name: "sleeping handler", play: sleeping },
    Behaviour { name: "blocking handler", play: |it, rng| timed(it, "block", rng.u64(0..20)) },
    Behaviour { name: "slow reader", play: |it, rng| read_big(it, rng, 20) },
    Behaviour { name: "stopped in mid-write", play: stopped_in_mid_write },
    Behaviour {
        name: "failing handler",
        play: |it, rng| {
            let number = rng.u64(..);
            refused(it, &format!("err {number}\n"), &format!("as asked: {number}"), None)
        },
    },
];

pub(crate) const BAD: &[Behaviour] = &[
    Behaviour { name: "silent", play: |it, _| late(it, false) },
    Behaviour { name: "a byte a second", play: |it, _| late(it, true) },
    Behaviour { name: "too long", play: too_long },
    Behaviour { name: "garbage", play: garbage },
    Behaviour { name: "vanishing", play: vanish },
    Behaviour { name: "leaving at once", play: |_, _| left() },
    Behaviour { name: "never reading", play: never_read },
    Behaviour { name: "reading a byte a second", play: |it, rng| read_big(it, rng, u32::MAX) },
    Behaviour { name: "writing on and on", play: flood },
    Behaviour { name: "taking a part", play: take_a_part },
    Behaviour { name: "passing a descriptor", play: |it, rng| pass_descriptor(it, rng, true) },
    Behaviour {
        name: "panicking handler",
        play: |it, _| refused(it, "panic 0\n", "the handler panicked", None),
    },
    Behaviour {
        name: "handler that never ends",
        play: |it, _| refused(it, "never 0\n", HANDLER_LATE, Some(HANDLER)),
    },
    Behaviour {
        name: "handler that blocks",
        play: |it, _| refused(it, "block 5000\n", HANDLER_LATE, Some(HANDLER)),
    },
];

/// Towards `unhang serve`, in which a request ends when the receive queue is dry.
pub(crate) const PLAIN: &[Behaviour] = &[
    Behaviour { name: "write and read", play: |it, _| tell_time(it, b"hello", false) },
    Behaviour { name: "empty, half-close", play: |it, _| tell_time(it, b"", true) },
    Behaviour { name: "32 KiB at once", play: |it, _| tell_time(it, &[b'x'; 32 * 1024], false) },
    Behaviour { name: "900 kB, half-close", play: |it, rng| write_with_a_pause(it, rng, false) },
    Behaviour { name: "stopped in mid-write", play: |it, rng| write_with_a_pause(it, rng, true) },
];

pub(crate) const RUDE: &[Behaviour] = &[
    Behaviour { name: "silent", play: |it, _| late_dry(it) },
    Behaviour { name: "vanishing", play: vanish },
    Behaviour { name: "leaving at once", play: |_, _| left() },
    Behaviour { name: "writing on and on", play: flood },
    Behaviour { name: "passing a descriptor", play: |it, rng| pass_descriptor(it, rng, false) },
];

pub(crate) const HANDLER_LATE: &str = "the handler took longer than 4s";

fn message(rng: &mut Rng, longest: usize) -> Vec<u8> {
    let mut bytes = format!("echo {} ", rng.u64(..)).into_bytes();
    let length = rng.usize(0..longest - 64);
    let from = bytes.len();
    bytes.resize(from + length, 0);
    rng.fill(&mut bytes[from..]);
    for byte in &mut bytes {
        // A newline would be its end.
        if *byte == b'\n' {
            *byte = b' ';
        }
    }
    bytes
}

fn reply_to(message: &[u8]) -> Wanted {
    Wanted::Reply([b"reply to ", message].concat())
}

fn ask(it: &mut Exchange, rng: &mut Rng, longest: usize, newline: bool) -> Outcome {
    let mut message = message(rng, longest);
    if newline {
        message.push(b'\n');
    }
    it.write(&message);
    if !newline {
        it.half_close();
    }
    Outcome { wanted: reply_to(&message), end: it.read_to_end(), deadline: None }
}

fn in_pieces(it: &mut Exchange, rng: &mut Rng) -> Outcome {
    let mut message = message(rng, 50_000);
    message.push(b'\n');
    for piece in message.chunks(message.len() / rng.usize(1..8) + 1) {
        it.write(piece);
        std::thread::sleep(Duration::from_millis(rng.u64(0..50)));
    }
    Outcome { wanted: reply_to(&message), end: it.read_to_end(), deadline: None }
}

/// Writes everything before it reads, and more than it should: the reply must still be whole.
fn more_after(it: &mut Exchange, rng: &mut Rng) -> Outcome {
    let mut bytes = message(rng, 50_000);
    bytes.push(b'\n');
    let wanted = reply_to(&bytes);
    bytes.resize(bytes.len() + rng.usize(1..50_000), b'x');
    it.write(&bytes);
    Outcome { wanted, end: it.read_to_end(), deadline: None }
}

fn sleeping(it: &mut Exchange, rng: &mut Rng) -> Outcome {
    let mut outcome = timed(it, "sleep", rng.u64(0..300));
    if let Wanted::Reply(reply) = outcome.wanted {
        outcome.wanted = Wanted::Slept(reply);
    }
    outcome
}

fn timed(it: &mut Exchange, verb: &str, millis: u64) -> Outcome {
    let message = format!("{verb} {millis} please\n");
    it.write(message.as_bytes());
    Outcome { wanted: reply_to(message.as_bytes()), end: it.read_to_end(), deadline: None }
}

fn refused(it: &mut Exchange, message: &str, reason: &str, deadline: Option<Duration>) -> Outcome {
    it.write(message.as_bytes());
    let wanted = Wanted::Refusal(reason.to_owned());
    Outcome { wanted, end: it.read_to_end(), deadline }
}

/// Reads with pauses: few enough to have it all in time, or for ever.
fn read_big(it: &mut Exchange, rng: &mut Rng, pauses: u32) -> Outcome {
    let number = rng.u64(..);
    it.write(format!("big {number}\n").as_bytes());
    let reply = service::big(number);
    if pauses < u32::MAX {
        let end = it.read(100_000, Duration::from_millis(20), pauses);
        return Outcome { wanted: Wanted::Reply(reply), end, deadline: None };
    }
    // As long as the server could wait, then what is left of it.
    let seconds = u32::try_from(WRITE.as_secs() + 1).unwrap_or(1);
    let end = it.read(1, Duration::from_secs(1), seconds);
    Outcome { wanted: Wanted::PartOf(reply), end, deadline: None }
}

fn never_read(it: &mut Exchange, rng: &mut Rng) -> Outcome {
    let number = rng.u64(..);
    it.write(format!("big {number}\n").as_bytes());
    while !it.wait_for_close(Duration::from_secs(60)) && !it.is_late() {}
    it.has_closed();
    let end = if it.is_late() { End::Hung } else { it.read_to_end() };
    let wanted = Wanted::PartOf(service::big(number));
    Outcome { wanted, end, deadline: Some(WRITE) }
}

/// A request that is not whole in time.
fn late(it: &mut Exchange, dripping: bool) -> Outcome {
    while dripping && !it.is_late() && it.write(b"x") && !it.wait_for_close(Duration::from_secs(1))
    {
    }
    let reason = format!("no whole request within {READ:?}: end it with a newline, or half-close");
    Outcome { wanted: Wanted::Refusal(reason), end: it.read_to_end(), deadline: Some(READ) }
}

fn late_dry(it: &mut Exchange) -> Outcome {
    let advice = "send it, and half-close if it comes in pieces";
    let reason = format!("no whole request within {READ:?}: {advice}");
    Outcome { wanted: Wanted::Refusal(reason), end: it.read_to_end(), deadline: Some(READ) }
}

fn too_long(it: &mut Exchange, rng: &mut Rng) -> Outcome {
    it.write(&vec![b'x'; (1 << 20) + rng.usize(1..1 << 20)]);
    let wanted = Wanted::Refusal("the request is longer than 1048576 bytes".to_owned());
    Outcome { wanted, end: it.read_to_end(), deadline: None }
}

fn garbage(it: &mut Exchange, rng: &mut Rng) -> Outcome {
    let mut bytes = vec![b'?'; rng.usize(2..2000)];
    rng.fill(&mut bytes[1..]);
    it.write(&bytes);
    it.half_close();
    refused(it, "", UNKNOWN, None)
}

fn vanish(it: &mut Exchange, rng: &mut Rng) -> Outcome {
    let message = message(rng, 200_000);
    it.write(&message[..rng.usize(0..message.len())]);
    std::thread::sleep(Duration::from_millis(rng.u64(0..20)));
    left()
}

fn left() -> Outcome {
    Outcome { wanted: Wanted::Nothing, end: End::Left, deadline: None }
}

/// Goes on writing after its answer, for longer than the server puts up with it.
fn flood(it: &mut Exchange, rng: &mut Rng) -> Outcome {
    let (bytes, most) = (vec![b'x'; 16 * 1024], LINGER.mul_f64(rng.f64() * 1.5));
    while it.begun.elapsed() < most && it.write(&bytes) {
        std::thread::sleep(Duration::from_millis(1));
    }
    Outcome { wanted: Wanted::Nothing, end: it.read_to_end(), deadline: None }
}

/// As a client is that the machine stops: a part, nothing for a while, and the rest.
fn stopped_in_mid_write(it: &mut Exchange, rng: &mut Rng) -> Outcome {
    let mut message = message(rng, 900_000);
    message.push(b'\n');
    let (part, rest) = message.split_at(rng.usize(0..message.len()));
    it.write(part);
    std::thread::sleep(Duration::from_millis(rng.u64(1..200)));
    it.write(rest);
    Outcome { wanted: reply_to(&message), end: it.read_to_end(), deadline: None }
}

/// The same if only a pause can end a request: its server may take a part for the whole, and must not
/// answer it then.
fn write_with_a_pause(it: &mut Exchange, rng: &mut Rng, pauses: bool) -> Outcome {
    const LENGTH: usize = 900_000;
    // A reply longer than one piece (32 KiB) is waited for.
    let part = rng.usize(64 * 1024..LENGTH);
    let bytes = vec![b'x'; LENGTH];
    let mut is_cut = !it.write(&bytes[..part]);
    if pauses {
        std::thread::sleep(Duration::from_millis(rng.u64(1..60)));
    }
    is_cut |= it.wait_for_close(Duration::ZERO);
    is_cut |= !it.write(&bytes[part..]);
    it.half_close();
    let wanted = if is_cut { Wanted::Told } else { Wanted::TimeOrTold };
    Outcome { wanted, end: it.read_to_end(), deadline: None }
}

/// Reads the beginning of its reply, and leaves.
fn take_a_part(it: &mut Exchange, rng: &mut Rng) -> Outcome {
    it.write(format!("big {}\n", rng.u64(..)).as_bytes());
    it.read_some(rng.usize(1..1 << 20));
    left()
}

/// Passes a descriptor with its first byte, whose close would hold up its server. Since Linux 6.16 it is
/// refused, and the client is served without; on older kernels the server may end the exchange.
fn pass_descriptor(it: &mut Exchange, rng: &mut Rng, is_echo: bool) -> Outcome {
    let mut message = message(rng, 1000);
    message.push(b'\n');
    let Ok((passed, other_end)) = passing::lingering() else { return left() };
    let is_passed = it.pass(&message[..1], &passed);
    it.write(&message[usize::from(is_passed)..]);
    // The last copy is the server's; if it was refused, there is none.
    passing::close(passed, is_passed);
    let wanted = match (is_passed, is_echo) {
        (true, _) => Wanted::Nothing,
        (false, true) => reply_to(&message),
        (false, false) => Wanted::Time,
    };
    let end = it.read_to_end();
    drop(other_end);
    Outcome { wanted, end, deadline: None }
}

fn tell_time(it: &mut Exchange, message: &[u8], half_close: bool) -> Outcome {
    it.write(message);
    if half_close {
        it.half_close();
    }
    Outcome { wanted: Wanted::Time, end: it.read_to_end(), deadline: None }
}
