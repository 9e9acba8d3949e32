//! Where a one-shot request ends, however its bytes were cut and whatever the reads showed.

use super::input::Input;
use crate::wire::oneshot::{ONE_PIECE, OneShot, Until};
use crate::wire::{Decoded, Seen, Wire};

/// Where the request is taken to end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Whole(usize),
    Later,
    AfterAPause,
}

/// The first byte chooses where a request ends; then pieces: what the read showed, and its bytes.
pub fn framing(data: &[u8]) {
    let mut input = Input::new(data);
    let until = input.choose([Until::Dry, Until::Newline, Until::HalfClose]);
    let mut wire = Wire::OneShot(OneShot::new(until));
    let mut bytes = Vec::new();
    // Some times the length that makes a difference: longer ones are only slower.
    while !input.is_used_up() && bytes.len() < 4 * ONE_PIECE {
        let seen = input.choose([Seen::More, Seen::Dry, Seen::Settled, Seen::End]);
        match input.choose([0, 1]) {
            0 => bytes.extend_from_slice(input.counted()),
            // Long ones, which no fuzzer would come to write out.
            _ => bytes.resize(bytes.len() + usize::from(input.byte()) * 257, b'x'),
        }
        let end = decode(&mut wire, &bytes, seen);
        assert_eq!(end, expected(until, &bytes, seen), "{until:?} {seen:?} {}", bytes.len());
        if let End::Whole(length) = end {
            assert!(length <= bytes.len(), "a request is what came of it");
            cut_otherwise(until, &bytes, seen, length);
            return;
        }
    }
}

fn decode(wire: &mut Wire, bytes: &[u8], seen: Seen) -> End {
    match wire.decode(bytes, seen, usize::MAX) {
        Ok(Decoded::Request { body, used }) => {
            assert_eq!(body, 0..used, "all of it is the body");
            End::Whole(used)
        }
        Ok(Decoded::More) => End::Later,
        Ok(Decoded::Settle(_)) => End::AfterAPause,
        other => {
            assert!(matches!(other, Ok(Decoded::Over)), "{other:?}");
            End::Later
        }
    }
}

/// The same, said without a memory of what came before.
fn expected(until: Until, bytes: &[u8], seen: Seen) -> End {
    let newline = || bytes.iter().position(|&byte| byte == b'\n');
    match until {
        Until::Newline if newline().is_some() => End::Whole(newline().unwrap_or_default() + 1),
        _ if seen == Seen::End => End::Whole(bytes.len()),
        Until::Newline | Until::HalfClose => End::Later,
        Until::Dry if seen == Seen::Settled => End::Whole(bytes.len()),
        Until::Dry if seen == Seen::Dry && bytes.len() <= ONE_PIECE => End::Whole(bytes.len()),
        Until::Dry => End::AfterAPause,
    }
}

/// The request does not depend on where its bytes were cut on their way.
fn cut_otherwise(until: Until, bytes: &[u8], seen: Seen, length: usize) {
    let new = || Wire::OneShot(OneShot::new(until));
    assert_eq!(decode(&mut new(), bytes, seen), End::Whole(length), "in one piece");
    if until == Until::Newline && bytes.len() < 4096 {
        let mut wire = new();
        let mut so_far = 1..bytes.len();
        let early = so_far.find_map(|end| match decode(&mut wire, &bytes[..end], Seen::Dry) {
            End::Whole(length) => Some(length),
            End::Later | End::AfterAPause => None,
        });
        assert_eq!(early.unwrap_or(length), length, "a byte at a time");
    }
}
