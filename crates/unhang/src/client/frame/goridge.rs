//! Calls of Goridge's RPC and their replies. The format is told in `wire/goridge.rs`.

use std::sync::Arc;

use super::Taken;
use crate::wire::goridge::{ERROR, FIXED, HEADER, LONGEST_METHOD, START, crc32, rpc_head, word};

/// What the body of a call is encoded in, and that of its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GoridgeCodec {
    /// A JSON value. What most services of `RoadRunner` take.
    #[default]
    Json,
    /// Bytes as they are.
    Raw,
    /// A value of `MessagePack`.
    Msgpack,
    /// A message of Protocol Buffers.
    Proto,
}

impl GoridgeCodec {
    fn flag(self) -> u8 {
        match self {
            Self::Raw => 0x04,
            Self::Json => 0x08,
            Self::Msgpack => 0x10,
            Self::Proto => 0x80,
        }
    }
}

/// The frame of a call, or what is wrong with it.
///
/// # Errors
/// The method has no name or one that is too long, or the body does not fit into a frame.
pub fn goridge_call(
    method: &str,
    codec: GoridgeCodec,
    sequence: u32,
    body: &[u8],
) -> Result<Vec<u8>, &'static str> {
    if method.is_empty() || method.len() > LONGEST_METHOD {
        return Err("expected a method of 1 to 4096 bytes, as Service.Method");
    }
    let mut frame = Vec::with_capacity(HEADER + method.len() + body.len());
    rpc_head(codec.flag(), sequence, method, body.len(), &mut frame)
        .map_err(|_| "expected a message of less than 4 GiB, which a frame can hold")?;
    frame.extend_from_slice(body);
    Ok(frame)
}

/// Reads the replies to calls of one method, whose sequence numbers are 1, 2 and so on.
#[derive(Clone, Debug)]
pub(super) struct GoridgeReader {
    method: Arc<str>,
    /// Of the reply under way, as far as it came.
    header: Vec<u8>,
    /// So many bytes of the method's name came.
    named: usize,
    /// So many bytes of the body are to come.
    left: usize,
    /// The sequence number of the reply under way, or that was whole last.
    sequence: u32,
    is_error: bool,
}

impl GoridgeReader {
    pub(super) fn new(method: Arc<str>) -> Self {
        let header = Vec::with_capacity(HEADER);
        Self { method, header, named: 0, left: 0, sequence: 0, is_error: false }
    }

    pub(super) fn is_error(&self) -> bool {
        self.is_error
    }

    /// How much of the body is still to come.
    pub(super) fn left(&self) -> u64 {
        self.left as u64
    }

    pub(super) fn take(
        &mut self,
        input: &[u8],
        body: &mut dyn FnMut(&[u8]),
    ) -> Result<Taken, &'static str> {
        let mut rest = input;
        if self.header.len() < HEADER {
            let (begin, after) = rest.split_at(rest.len().min(HEADER - self.header.len()));
            self.header.extend_from_slice(begin);
            rest = after;
            if self.header.len() < HEADER {
                return Ok(Taken { used: input.len(), is_whole: false });
            }
            self.begin()?;
        }
        let name = &self.method.as_bytes()[self.named..];
        let (begin, after) = rest.split_at(rest.len().min(name.len()));
        if !name.starts_with(begin) {
            return Err("expected a reply of the method that was called, got one of another");
        }
        self.named += begin.len();
        let (part, after) = after.split_at(after.len().min(self.left));
        if !part.is_empty() {
            body(part);
        }
        self.left -= part.len();
        let is_whole = self.named == self.method.len() && self.left == 0;
        if is_whole {
            self.header.clear();
        }
        Ok(Taken { used: input.len() - after.len(), is_whole })
    }

    /// The header of the next reply is there.
    fn begin(&mut self) -> Result<(), &'static str> {
        let header = &self.header;
        if header[0] != START {
            return Err("expected a Goridge frame of an RPC, which begins with 0x15");
        }
        if word(header, 6) != crc32(&header[..6]) {
            return Err("expected the checksum of a Goridge frame, got another");
        }
        if word(header, FIXED) != self.sequence.wrapping_add(1) {
            return Err("expected the reply to this call, got one to another");
        }
        let (payload, name) = (word(header, 2) as usize, word(header, 16) as usize);
        if name != self.method.len() || payload < name {
            return Err("expected a reply of the method that was called, got one of another");
        }
        (self.named, self.left) = (0, payload - name);
        self.sequence = self.sequence.wrapping_add(1);
        self.is_error = header[1] & ERROR != 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::FrameReader;
    use super::*;

    fn call(sequence: u32, body: &[u8]) -> Vec<u8> {
        goridge_call("A.b", GoridgeCodec::Raw, sequence, body).unwrap()
    }

    /// The bodies of all whole replies in `bytes`, that come in pieces of this length.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, &'static str> {
        let mut reader = FrameReader::goridge("A.b".into());
        let (mut replies, mut reply) = (Vec::new(), Vec::new());
        for mut input in bytes.chunks(piece) {
            while !input.is_empty() {
                let taken = reader.take(input, &mut |part| reply.extend_from_slice(part))?;
                input = &input[taken.used..];
                if taken.is_whole {
                    replies.push(std::mem::take(&mut reply));
                }
            }
        }
        assert!(reply.is_empty());
        Ok(replies)
    }

    #[test]
    fn replies_are_found_however_they_come() {
        let bytes = [call(1, b"one"), call(2, b""), call(3, &[0x15; 100])].concat();
        let expected = vec![b"one".to_vec(), Vec::new(), vec![0x15; 100]];
        for piece in 1..=bytes.len() {
            assert_eq!(read(&bytes, piece).unwrap(), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_reply_to_another_call_is_none() {
        let mut other = call(1, b"one");
        other[22] = b'c';
        let mut broken = call(1, b"one");
        broken[7] ^= 1;
        for (bytes, why) in [
            (call(2, b"two"), "got one to another"),
            (other, "got one of another"),
            (broken, "checksum"),
            (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "0x15"),
        ] {
            let error = read(&bytes, bytes.len()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_error_is_told_from_an_answer() {
        let mut error = call(1, b"no");
        error[1] |= ERROR;
        let sum = crc32(&error[..6]);
        error[6..10].copy_from_slice(&sum.to_le_bytes());
        let mut reader = FrameReader::goridge("A.b".into());
        assert!(reader.take(&error, &mut |_| {}).unwrap().is_whole && reader.is_refusal());
        assert!(reader.take(&call(2, b""), &mut |_| {}).unwrap().is_whole);
        assert!(!reader.is_refusal());
    }

    #[test]
    fn a_method_has_a_name() {
        assert!(goridge_call("", GoridgeCodec::Json, 1, b"").is_err());
        assert!(goridge_call(&"x".repeat(4097), GoridgeCodec::Json, 1, b"").is_err());
    }
}
