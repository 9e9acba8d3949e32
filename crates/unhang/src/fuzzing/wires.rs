//! Requests on a kept connection, however their bytes were cut, and what is said to each.

use super::input::Input;
use crate::wire::goridge::Goridge;
use crate::wire::http::Http;
use crate::wire::lines::{Delimiter, Errors, Lines};
use crate::wire::{Decoded, Kind, Refusal, ReplyHead, Seen, Violation, Wire};

/// A request as the wire has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Empty in wires without one.
    pub method: String,
    /// Of HTTP.
    pub target: String,
    /// Of HTTP: names as they came, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Without what framed it.
    pub body: Vec<u8>,
    /// Whether another may follow.
    pub stays: bool,
}

/// How the input of a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Over,
    /// A request has said that it is the last.
    Closed,
    Refused(Kind),
}

/// All requests that HTTP finds in an input with an end, each answered by nothing.
pub fn http_requests(input: &[u8]) -> Vec<Read> {
    read(Wire::Http(Http::default()), input, &[], usize::MAX).0
}

/// The first bytes choose the wire, the longest request, and two places to cut at.
pub fn wires(data: &[u8]) {
    let mut input = Input::new(data);
    let wire = input.choose([
        Wire::Lines(Lines::new(Delimiter::Newline, Errors::Text)),
        Wire::Lines(Lines::new(Delimiter::Nul, Errors::Text)),
        Wire::Lines(Lines::new(Delimiter::Newline, Errors::JsonRpc)),
        Wire::Http(Http::default()),
        Wire::Goridge(Goridge::default()),
    ]);
    let most = input.choose([0, 5, 100, usize::MAX]);
    let cuts = [usize::from(input.byte()), usize::from(input.byte())];
    let bytes = input.rest();
    // A fuzzer would not find a frame's checksum.
    let bytes = if let Wire::Goridge(_) = wire { checked(bytes) } else { bytes.to_vec() };
    let whole = read(wire.clone(), &bytes, &[], most);
    let mut places: Vec<_> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
    places.sort_unstable();
    assert_eq!(read(wire.clone(), &bytes, &places, most), whole, "cut at {places:?}");
    let each: Vec<_> = (0..bytes.len()).collect();
    assert_eq!(read(wire, &bytes, &each, most), whole, "byte by byte");
}

/// Puts the checksum of each frame right, as far as there are frames.
fn checked(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + 12) {
        let sum = crate::wire::goridge::crc32(&header[..6]);
        header[6..10].copy_from_slice(&sum.to_le_bytes());
        let payload = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
        at += 20 + payload as usize;
    }
    bytes
}

fn read(mut wire: Wire, input: &[u8], cuts: &[usize], most: usize) -> (Vec<Read>, End) {
    let (mut requests, mut begin) = (Vec::new(), 0);
    // Cut input is followed by its end in a read of its own, as from a socket.
    let all = (!cuts.is_empty()).then_some(input.len());
    let pieces = cuts.iter().copied().chain(all).map(|end| (end, Seen::Dry));
    let reads = pieces.chain([(input.len(), Seen::End)]);
    for (end, seen) in reads {
        loop {
            let rest = &input[begin..end];
            match wire.decode(rest, seen, most) {
                Ok(Decoded::Request { body, used }) => {
                    assert!(body.start <= body.end && body.end <= used && used <= rest.len());
                    assert!(used > 0, "a request of nothing would be found for ever");
                    assert!(wire.in_request(rest));
                    let request = take(&mut wire, rest[body].to_vec(), most);
                    begin += used;
                    let stays = request.stays;
                    answer(&mut wire, requests.len(), &request.body);
                    requests.push(request);
                    if !stays {
                        return (requests, End::Closed);
                    }
                }
                Ok(Decoded::More) => {
                    assert_ne!(seen, Seen::End, "nothing more comes");
                    break;
                }
                Ok(Decoded::Over) => return (requests, End::Over),
                Ok(Decoded::Settle(_)) => panic!("a pause ends no request"),
                Err(violation) => {
                    begin += violation.used;
                    if let Some(end) = refuse(&mut wire, &violation) {
                        return (requests, end);
                    }
                    assert!(violation.used > 0, "the same would be refused for ever");
                }
            }
        }
    }
    panic!("the end was seen, and the wire reads on");
}

fn take(wire: &mut Wire, mut body: Vec<u8>, most: usize) -> Read {
    let framed = body.len();
    let parts = wire.parts(&mut body).unwrap_or_default();
    assert!(body.len() <= framed && body.len() <= most, "no more than came, nor than may");
    let headers = parts.headers().map(|(name, value)| (name.into(), value.into())).collect();
    let (method, target) = (parts.method().into(), parts.target().into());
    Read { method, target, headers, body, stays: wire.stays_open() }
}

fn refuse(wire: &mut Wire, violation: &Violation) -> Option<End> {
    let mut told = Vec::new();
    wire.refusal(Refusal { kind: violation.kind, reason: &violation.reason }, &mut told);
    if let Wire::Lines(_) | Wire::Http(_) = wire {
        assert!(!told.is_empty());
    }
    (!wire.stays_open()).then_some(End::Refused(violation.kind))
}

/// Says the body back, whole or in pieces in turn, and reads that as a client would.
fn answer(wire: &mut Wire, turn: usize, body: &[u8]) {
    let mut out = Vec::new();
    let whole = turn % 2 == 0;
    let said = wire.head(ReplyHead::default(), whole.then_some(body.len()), &mut out);
    assert_eq!(said, Ok(()));
    let pieces = if whole { body.chunks(usize::MAX) } else { body.chunks(7) };
    for piece in pieces {
        match wire.piece(piece, &mut out) {
            Ok(length) => out.extend_from_slice(&piece[..length]),
            Err(_) => panic!("what came in a request can go out in a reply"),
        }
    }
    wire.tail(&mut out);
    match wire {
        Wire::Lines(_) => {
            let line = out.split_last().map_or(&[][..], |(_, line)| line);
            assert_eq!(line, body, "and a delimiter");
        }
        Wire::Goridge(_) => {
            let mut client = Wire::Goridge(Goridge::default());
            let decoded = client.decode(&out, Seen::Dry, usize::MAX);
            assert!(
                matches!(&decoded, Ok(Decoded::Request { body: said, used })
                    if out[said.clone()] == *body && *used == out.len()),
                "{decoded:?}"
            );
        }
        Wire::Http(_) | Wire::OneShot(_) => {}
    }
}
