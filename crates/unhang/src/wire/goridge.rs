//! Goridge's RPC frames, version 1, as PHP's `spiral/goridge` sends them (its `src/Frame.php`): a header
//! with the payload's length, and a payload of a method's name and a body.
//!
//! ```text
//! byte  0      1      2..6            6..10                 10   11   12..16    16..20
//!       0x15   flags  payload length  CRC-32 of bytes 0..6  0    0    sequence  length of the name
//! ```
//! All numbers are little-endian. The flags name the body's codec, which the handler may ask for as a
//! header and which goes back with the reply as it came: the body is the handler's. A reply has the sequence and
//! the method of its request. A client that gets a reply without them, or one that it has not asked
//! for, never recovers; so nothing is said to a client before its sequence is known.

use std::ops::Range;

use super::decoded::{Decoded, Seen, Violation};
use super::refusal::{Kind, Refusal, Unspeakable};
use crate::parts::RequestParts;

/// What comes before the options, and how long the whole header is with the two of an RPC.
pub(crate) const FIXED: usize = 12;
pub(crate) const HEADER: usize = 20;

/// Version 1, and a header of five words.
pub(crate) const START: u8 = 0x15;

/// Between a pool and its workers, never in an RPC.
const CONTROL: u8 = 0x01;
pub(crate) const ERROR: u8 = 0x40;

/// What bodies are encoded in, by their flags.
const CODECS: [(u8, &str); 5] =
    [(0x04, "raw"), (0x08, "json"), (0x10, "msgpack"), (0x20, "gob"), (0x80, "proto")];
const CODEC: &str = "Codec";

/// `Service.Method` is some tens of bytes; as long as a path may be on Linux.
pub(crate) const LONGEST_METHOD: usize = 4096;

/// Goridge, as a wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Goridge {
    /// Nothing is asked after this reply.
    last: bool,
    /// From the moment in which the client can be answered until it is.
    call: Option<Box<Call>>,
}

#[derive(Clone, Debug)]
struct Call {
    flags: u8,
    sequence: u32,
    parts: RequestParts,
    reply: Reply,
}

/// The reply under way.
#[derive(Clone, Debug)]
enum Reply {
    /// Its length was stated.
    Stated,
    /// Its pieces, until their length is known.
    Gathered(Vec<u8>),
}

impl Goridge {
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        seen: Seen,
        most: usize,
    ) -> Result<Decoded, Violation> {
        match self.frame(input, most)? {
            Some(body) => Ok(Decoded::Request { used: body.end, body }),
            None if seen != Seen::End => Ok(Decoded::More),
            None if input.is_empty() => Ok(Decoded::Over),
            None => {
                let reason =
                    format!("expected a whole frame, got {} bytes and the end", input.len());
                Err(violation(Kind::Malformed, reason))
            }
        }
    }

    /// Where the body is, once the frame is whole.
    fn frame(&mut self, input: &[u8], most: usize) -> Result<Option<Range<usize>>, Violation> {
        if let Some(start) = input.first().filter(|start| **start != START) {
            let reason = format!("expected a Goridge RPC frame, {START:#04x}, got {start:#04x}");
            return Err(violation(Kind::Malformed, reason));
        }
        let Some(fixed) = input.first_chunk::<FIXED>() else { return Ok(None) };
        let (stated, sum) = (word(fixed, 6), crc32(&fixed[..6]));
        if stated != sum {
            let reason = format!("expected the checksum {sum:#010x}, got {stated:#010x}");
            return Err(violation(Kind::Malformed, reason));
        }
        let Some(header) = input.first_chunk::<HEADER>() else { return Ok(None) };
        let flags = header[1];
        let call = self.call.get_or_insert_with(|| {
            let (sequence, reply) = (word(header, 12), Reply::Gathered(Vec::new()));
            Box::new(Call { flags, sequence, parts: RequestParts::default(), reply })
        });
        let (payload, method) = check(header, most)?;
        let begin = HEADER + method;
        let Some(named) = input.get(HEADER..begin) else { return Ok(None) };
        let Ok(name) = std::str::from_utf8(named) else {
            return Err(violation(Kind::Malformed, "expected a method name in UTF-8".into()));
        };
        if input.len() - HEADER < payload {
            return Ok(None);
        }
        call.parts = parts(name, flags);
        Ok(Some(begin..HEADER + payload))
    }

    /// A copy: the name goes back with the reply.
    pub(super) fn parts(&self) -> Option<RequestParts> {
        self.call.as_ref().map(|call| call.parts.clone())
    }

    pub(super) fn last(&mut self) {
        self.last = true;
    }

    pub(super) fn stays_open(&self) -> bool {
        !self.last
    }

    pub(super) fn head(
        &mut self,
        length: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unspeakable> {
        let Some(call) = &mut self.call else { return Ok(()) };
        call.reply = Reply::Gathered(Vec::new());
        if let Some(length) = length {
            call.head(length, out)?;
            call.reply = Reply::Stated;
        }
        Ok(())
    }

    pub(super) fn piece(&mut self, piece: &[u8]) -> Result<usize, Unspeakable> {
        match self.call.as_mut().map(|call| (call.name_length(), &mut call.reply)) {
            None => Ok(0),
            Some((_, Reply::Stated)) => Ok(piece.len()),
            Some((name, Reply::Gathered(gathered))) => {
                payload_length(name, gathered.len() + piece.len())?;
                gathered.extend_from_slice(piece);
                Ok(0)
            }
        }
    }

    pub(super) fn tail(&mut self, out: &mut Vec<u8>) {
        let Some(mut call) = self.call.take() else { return };
        if let Reply::Gathered(gathered) = std::mem::replace(&mut call.reply, Reply::Stated) {
            // Cannot fail: each piece was found to fit.
            if call.head(gathered.len(), out).is_ok() {
                out.extend_from_slice(&gathered);
            }
        }
    }

    /// Every answer to this request from here on is an error.
    pub(super) fn refused(&mut self) {
        if let Some(call) = &mut self.call {
            call.flags |= ERROR;
        }
    }

    pub(super) fn refusal(&mut self, refusal: Refusal<'_>, out: &mut Vec<u8>) {
        let Some(mut call) = self.call.take() else { return };
        call.flags |= ERROR;
        // Cannot fail: a reason is short.
        if call.head(refusal.reason.len(), out).is_ok() {
            out.extend_from_slice(refusal.reason.as_bytes());
        }
    }
}

impl Call {
    fn name_length(&self) -> usize {
        self.parts.method().len()
    }

    fn head(&self, length: usize, out: &mut Vec<u8>) -> Result<(), Unspeakable> {
        rpc_head(self.flags, self.sequence, self.parts.method(), length, out)
    }
}

/// What comes before a body of this length.
pub(crate) fn rpc_head(
    flags: u8,
    sequence: u32,
    method: &str,
    length: usize,
    out: &mut Vec<u8>,
) -> Result<(), Unspeakable> {
    let payload = payload_length(method.len(), length)?;
    let mut fixed = [0; FIXED];
    fixed[0] = START;
    fixed[1] = flags;
    fixed[2..6].copy_from_slice(&payload.to_le_bytes());
    let sum = crc32(&fixed[..6]);
    fixed[6..10].copy_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&fixed);
    out.extend_from_slice(&sequence.to_le_bytes());
    // No longer than the payload, which fits.
    out.extend_from_slice(&u32::try_from(method.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(method.as_bytes());
    Ok(())
}

/// A method's name, and the codec as a header.
fn parts(name: &str, flags: u8) -> RequestParts {
    let codec = CODECS.iter().find(|(flag, _)| flags & flag != 0).map_or("", |(_, codec)| codec);
    let head = format!("{name}{CODEC}{codec}");
    let (method, header) = head.split_at(name.len());
    let (title, codec) = header.split_at(CODEC.len());
    let headers = (!codec.is_empty()).then_some((title, codec.as_bytes()));
    RequestParts::new(head.as_bytes(), method, "", headers.into_iter())
}

/// The lengths of the payload and of the method's name in it.
fn check(header: &[u8; HEADER], most: usize) -> Result<(usize, usize), Violation> {
    let (payload, method) = (word(header, 2) as usize, word(header, 16) as usize);
    let (flags, stream) = (header[1], header[10]);
    let (kind, reason) = if flags & (CONTROL | ERROR) != 0 {
        (Kind::Malformed, format!("expected a request, got the flags {flags:#04x}"))
    } else if stream != 0 {
        (Kind::Unsupported, format!("streams are not spoken: byte 10 is {stream:#04x}, not 0"))
    } else if method > payload {
        let reason = format!("expected a method name within {payload} bytes, got one of {method}");
        (Kind::Malformed, reason)
    } else if method > LONGEST_METHOD {
        (Kind::HeadTooLong, format!("the method name is longer than {LONGEST_METHOD} bytes"))
    } else if payload - method > most {
        return Err(Violation::too_long(most, 0));
    } else {
        return Ok((payload, method));
    };
    Err(violation(kind, reason))
}

fn payload_length(name: usize, body: usize) -> Result<u32, Unspeakable> {
    let payload = name.checked_add(body).and_then(|payload| u32::try_from(payload).ok());
    payload.ok_or_else(|| {
        Unspeakable(format!("a Goridge frame holds less than 4 GiB, the reply has {body} bytes"))
    })
}

fn violation(kind: Kind, reason: String) -> Violation {
    Violation { kind, reason, used: 0 }
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_le_bytes(*word))
}

/// Of six bytes: a table, or a crate, would not be felt.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests;
