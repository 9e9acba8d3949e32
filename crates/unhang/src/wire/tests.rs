//! What holds for every wire.

use super::lines::{Delimiter, Errors};
use super::oneshot::Until;
use super::*;

const MOST: usize = 1 << 20;

/// An idle connection holds one of these, and has to stay below 256 bytes in all.
#[test]
fn an_idle_wire_is_small() {
    assert!(size_of::<Wire>() <= 32, "{} bytes", size_of::<Wire>());
}

#[test]
fn the_patience_follows_from_whether_the_request_fits_into_one_piece() {
    let mut wire = Wire::OneShot(OneShot::new(Until::Dry));
    let one = vec![b'x'; oneshot::ONE_PIECE];
    assert_eq!(wire.decode(&one, Seen::More, MOST), Ok(Decoded::Settle(Patience::Short)));
    let more = vec![b'x'; oneshot::ONE_PIECE + 1];
    for seen in [Seen::More, Seen::Dry] {
        assert_eq!(wire.decode(&more, seen, MOST), Ok(Decoded::Settle(Patience::Long)));
    }
    let whole = Decoded::Request { body: 0..more.len(), used: more.len() };
    assert_eq!(wire.decode(&more, Seen::Settled, MOST), Ok(whole));
}

#[test]
fn the_longest_request_is_taken_and_one_byte_more_is_refused() {
    let wires = [
        (Wire::OneShot(OneShot::new(Until::HalfClose)), &b"1234"[..], &b"12345"[..]),
        (Wire::OneShot(OneShot::new(Until::Newline)), b"123\n", b"1234\n"),
        (Wire::Lines(Lines::new(Delimiter::Newline, Errors::Text)), b"1234\n", b"12345\n"),
    ];
    for (wire, fits, too_long) in wires {
        let decoded = wire.clone().decode(fits, Seen::End, 4);
        assert_eq!(decoded, Ok(Decoded::Request { body: 0..4, used: fits.len() }));
        let mut wire = wire;
        let violation = wire.decode(too_long, Seen::Dry, 4).unwrap_err();
        assert_eq!(violation.kind, Kind::TooLong);
        assert_eq!(violation.reason, "the request is longer than 4 bytes");
        wire.refused(violation.kind);
        assert!(!wire.stays_open());
    }
}

#[test]
fn only_one_shot_is_in_a_request_from_the_start() {
    assert!(Wire::OneShot(OneShot::new(Until::Dry)).in_request(b""));
    let lines = Wire::Lines(Lines::new(Delimiter::Newline, Errors::Text));
    assert!(!lines.in_request(b""));
    assert!(lines.in_request(b"a"));
}
