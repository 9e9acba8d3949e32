use super::super::{ReplyHead, Wire};
use super::*;

const MOST: usize = 1 << 20;
const JSON: u8 = 0x08;

/// What PHP's `Frame::packFrame` makes of `call('Service.Ping', 'ping')`; the sum by zlib.
const PING: &[u8] =
    b"\x15\x08\x12\0\0\0\x5e\xe6\xb9\x28\0\0\x07\0\0\0\x0c\0\0\0Service.Ping\"ping\"";

fn wire() -> Wire {
    Wire::Goridge(Goridge::default())
}

/// A frame, and the same with a byte changed and the sum put right.
fn frame(flags: u8, sequence: u32, method: &str, body: &[u8]) -> Vec<u8> {
    let parts = RequestParts::new(method.as_bytes(), method, "", std::iter::empty());
    let call = Call { flags, sequence, parts, reply: Reply::Stated };
    let mut out = Vec::new();
    call.head(body.len(), &mut out).unwrap();
    out.extend_from_slice(body);
    out
}

fn changed(frame: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at] = byte;
    let sum = crc32(&frame[..6]);
    frame[6..10].copy_from_slice(&sum.to_le_bytes());
    frame
}

fn request(body: Range<usize>) -> Decoded {
    Decoded::Request { used: body.end, body }
}

/// What goes out for a reply of these pieces.
fn say(wire: &mut Wire, pieces: &[&[u8]], whole: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let length = whole.then(|| pieces.iter().map(|piece| piece.len()).sum());
    wire.head(ReplyHead::default(), length, &mut out).unwrap();
    for piece in pieces {
        let length = wire.piece(piece, &mut out).unwrap();
        out.extend_from_slice(&piece[..length]);
    }
    wire.tail(&mut out);
    out
}

/// What is wrong, what the client is told, and whether the connection stays.
fn refused(input: &[u8], seen: Seen, most: usize) -> (Kind, Vec<u8>) {
    let mut wire = wire();
    let violation = wire.decode(input, seen, most).unwrap_err();
    let mut out = Vec::new();
    wire.refusal(Refusal { kind: violation.kind, reason: &violation.reason }, &mut out);
    assert!(!wire.stays_open());
    (violation.kind, out)
}

#[test]
fn the_checksum_is_the_common_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_frame_of_php_is_read_wherever_it_was_cut() {
    assert_eq!(frame(JSON, 7, "Service.Ping", b"\"ping\""), PING);
    let two = [PING, PING].concat();
    for cut in 0..PING.len() {
        let mut wire = wire();
        assert_eq!(wire.decode(&PING[..cut], Seen::Dry, MOST), Ok(Decoded::More));
        assert_eq!(wire.decode(&two, Seen::More, MOST), Ok(request(32..38)));
        let parts = wire.parts(&mut Vec::new()).unwrap();
        assert_eq!((parts.method(), parts.target()), ("Service.Ping", ""));
        assert_eq!(parts.header("codec"), Some(&b"json"[..]));
        say(&mut wire, &[], true);
        assert_eq!(wire.decode(&two[38..], Seen::Dry, MOST), Ok(request(32..38)));
        say(&mut wire, &[], true);
        assert_eq!(wire.decode(b"", Seen::End, MOST), Ok(Decoded::Over));
    }
}

#[test]
fn a_reply_has_the_codec_sequence_and_method_of_its_request() {
    for (flags, codec) in
        [(0, ""), (0x04, "raw"), (JSON, "json"), (0x10, "msgpack"), (0x20, "gob"), (0x80, "proto")]
    {
        for (pieces, whole) in [(&[&b"\0\xff"[..]][..], true), (&[b"\0", b"", b"\xff"], false)] {
            let mut wire = wire();
            let input = frame(flags, u32::MAX, "A.b", b"\xff\0");
            assert_eq!(wire.decode(&input, Seen::Dry, MOST), Ok(request(23..25)));
            let parts = wire.parts(&mut Vec::new()).unwrap();
            assert_eq!(parts.header("Codec").unwrap_or_default(), codec.as_bytes());
            let expected = frame(flags, u32::MAX, "A.b", b"\0\xff");
            assert_eq!(say(&mut wire, pieces, whole), expected);
            assert!(wire.stays_open());
        }
    }
}

#[test]
fn a_method_may_have_no_name_and_a_body_no_bytes() {
    let mut wire = wire();
    let input = frame(JSON, 0, "", b"");
    assert_eq!(wire.decode(&input, Seen::Dry, 0), Ok(request(20..20)));
    assert_eq!(say(&mut wire, &[], false), input);
}

#[test]
fn an_error_is_a_frame_of_its_own_and_the_connection_stays() {
    for kind in [Kind::HandlerFailed, Kind::HandlerLate, Kind::Busy, Kind::NotAllowed] {
        let mut wire = wire();
        wire.decode(PING, Seen::Dry, MOST).unwrap();
        let mut out = Vec::new();
        wire.refusal(Refusal { kind, reason: "no" }, &mut out);
        assert_eq!(out, frame(JSON | ERROR, 7, "Service.Ping", b"no"));
        assert!(wire.stays_open());
        // And so in the service's own words.
        wire.decode(PING, Seen::Dry, MOST).unwrap();
        wire.refused(kind);
        assert_eq!(say(&mut wire, &[b"no"], true), out);
        wire.decode(PING, Seen::Dry, MOST).unwrap();
        assert_eq!(say(&mut wire, &[b"yes"], true)[1], JSON, "the next reply is none");
    }
}

/// It would be read as the answer to the next call.
#[test]
fn nothing_is_said_before_the_sequence_is_known() {
    for known in [0, 1, 12, 19] {
        let mut wire = wire();
        assert_eq!(wire.decode(&PING[..known], Seen::Dry, MOST), Ok(Decoded::More));
        let mut out = Vec::new();
        wire.refusal(Refusal { kind: Kind::RequestLate, reason: "late" }, &mut out);
        assert_eq!(say(&mut wire, &[b"late"], true), b"");
        assert_eq!(out, b"");
        assert!(!wire.stays_open());
    }
    let mut wire = wire();
    assert_eq!(wire.decode(&PING[..20], Seen::Dry, MOST), Ok(Decoded::More));
    let mut out = Vec::new();
    wire.refusal(Refusal { kind: Kind::RequestLate, reason: "late" }, &mut out);
    assert_eq!(out, frame(JSON | ERROR, 7, "", b"late"));
}

#[test]
fn a_frame_that_is_none_is_not_answered() {
    let mut sum = PING.to_vec();
    sum[6] ^= 1;
    for input in [
        &b"GET / HTTP/1.1"[..],
        &b"\x13\x08"[..],
        &b"\x25\x08"[..],
        &b"\x16\x08"[..],
        &sum,
        &PING[..1].iter().chain(b"not a frame at all").copied().collect::<Vec<_>>(),
    ] {
        assert_eq!(refused(input, Seen::Dry, MOST), (Kind::Malformed, Vec::new()));
    }
    assert_eq!(refused(&PING[..19], Seen::End, MOST), (Kind::Malformed, Vec::new()));
}

#[test]
fn a_bad_frame_whose_sequence_is_known_is_answered() {
    use Seen::{Dry, End};
    let told = |input: &[u8], seen, most, kind, flags: u8, reason: &str| {
        let (got, out) = refused(input, seen, most);
        assert_eq!(got, kind, "{reason}");
        assert_eq!(out, frame(flags | ERROR, 7, "", reason.as_bytes()), "{reason}");
    };
    told(
        &PING[..30],
        End,
        MOST,
        Kind::Malformed,
        JSON,
        "expected a whole frame, got 30 bytes and the end",
    );
    let long = "expected a method name within 18 bytes, got one of 99999";
    let mut method = PING.to_vec();
    method[16..20].copy_from_slice(&99_999_u32.to_le_bytes());
    told(&method[..20], Dry, MOST, Kind::Malformed, JSON, long);
    told(&PING[..20], Dry, 5, Kind::TooLong, JSON, "the request is longer than 5 bytes");
    assert_eq!(wire().decode(PING, Dry, 6), Ok(request(32..38)), "the name does not count");
    let control = changed(PING, 1, CONTROL);
    told(&control, Dry, MOST, Kind::Malformed, CONTROL, "expected a request, got the flags 0x01");
    let error = changed(PING, 1, ERROR | JSON);
    told(&error, Dry, MOST, Kind::Malformed, JSON, "expected a request, got the flags 0x48");
    let stream = changed(PING, 10, 1);
    told(
        &stream,
        Dry,
        MOST,
        Kind::Unsupported,
        JSON,
        "streams are not spoken: byte 10 is 0x01, not 0",
    );
    let name = changed(PING, 20, 0xff);
    told(&name, Dry, MOST, Kind::Malformed, JSON, "expected a method name in UTF-8");
    let name = frame(JSON, 7, &"x".repeat(4097), b"");
    told(&name, Dry, MOST, Kind::HeadTooLong, JSON, "the method name is longer than 4096 bytes");
    assert!(wire().decode(&frame(JSON, 7, &"x".repeat(4096), b""), Dry, MOST).is_ok());
}

#[test]
fn a_frame_of_four_gibibytes_does_not_overflow() {
    let mut input = PING.to_vec();
    for byte in 2..6 {
        input = changed(&input, byte, 0xff);
    }
    assert_eq!(wire().decode(&input, Seen::Dry, usize::MAX), Ok(Decoded::More));
    assert_eq!(refused(&input, Seen::Dry, MOST).0, Kind::TooLong);
}

#[test]
fn a_reply_that_no_frame_can_hold_is_not_said() {
    let mut wire = wire();
    wire.decode(PING, Seen::Dry, MOST).unwrap();
    let mut out = Vec::new();
    let length = u32::MAX as usize - 11;
    assert!(wire.head(ReplyHead::default(), Some(length), &mut out).is_err());
    assert_eq!(out, b"");
    wire.refusal(Refusal { kind: Kind::HandlerFailed, reason: "too long" }, &mut out);
    assert_eq!(out, frame(JSON | ERROR, 7, "Service.Ping", b"too long"));
    assert!(wire.stays_open());
}
