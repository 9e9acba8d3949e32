//! Where a request ends, however its bytes were cut and whatever the reads showed.

use super::input::Input;
use crate::wire::oneshot::{Framing, Next, ONE_PIECE, Seen, Until};

/// The first byte chooses where a request ends; then pieces: what the read showed, and its bytes.
pub fn framing(data: &[u8]) {
    let mut input = Input::new(data);
    let until = input.choose([Until::Dry, Until::Newline, Until::HalfClose]);
    let mut framing = Framing::new(until);
    let mut bytes = Vec::new();
    // Some times the length that makes a difference: longer ones are only slower.
    while !input.is_used_up() && bytes.len() < 4 * ONE_PIECE {
        let seen = input.choose([Seen::More, Seen::Dry, Seen::Settled, Seen::End]);
        match input.choose([0, 1]) {
            0 => bytes.extend_from_slice(input.counted()),
            // Long ones, which no fuzzer would come to write out.
            _ => bytes.resize(bytes.len() + usize::from(input.byte()) * 257, b'x'),
        }
        let next = framing.next(&bytes, seen);
        assert_eq!(next, expected(until, &bytes, seen), "{until:?} {seen:?} {}", bytes.len());
        if let Next::Whole(length) = next {
            assert!(length <= bytes.len(), "a request is what came of it");
            cut_otherwise(until, &bytes, seen, length);
            return;
        }
    }
}

/// The same, said without a memory of what came before.
fn expected(until: Until, bytes: &[u8], seen: Seen) -> Next {
    let newline = || bytes.iter().position(|&byte| byte == b'\n');
    match until {
        Until::Newline if newline().is_some() => Next::Whole(newline().unwrap_or_default() + 1),
        _ if seen == Seen::End => Next::Whole(bytes.len()),
        Until::Newline | Until::HalfClose => Next::Read,
        Until::Dry if seen == Seen::Settled => Next::Whole(bytes.len()),
        Until::Dry if seen == Seen::Dry && bytes.len() <= ONE_PIECE => Next::Whole(bytes.len()),
        Until::Dry => Next::Settle,
    }
}

/// The request does not depend on where its bytes were cut on their way.
fn cut_otherwise(until: Until, bytes: &[u8], seen: Seen, length: usize) {
    assert_eq!(Framing::new(until).next(bytes, seen), Next::Whole(length), "in one piece");
    if until == Until::Newline && bytes.len() < 4096 {
        let mut framing = Framing::new(until);
        let mut so_far = 1..bytes.len();
        let early = so_far.find_map(|end| match framing.next(&bytes[..end], Seen::Dry) {
            Next::Whole(length) => Some(length),
            _ => None,
        });
        assert_eq!(early.unwrap_or(length), length, "a byte at a time");
    }
}
