//! How a request and its reply are told apart from all else on a worker's pipes. Pure bytes.
//!
//! Every request has a random id, and its reply begins with it. Whatever else a worker prints, before
//! or after, late or twice, has not this id, and is no reply. Without ids, one stray `print` gives
//! every later client the reply of another.

use std::fmt::Write;

use memchr::{memchr, memmem};

use crate::backend::lines::Lines;

/// The longest reply, as long as our own client takes one by default.
pub(super) const LONGEST_REPLY: usize = crate::limits::MAX_REPLY;

/// The length of an id: 64 bits. Random, so that a client cannot write the next reply's id into what
/// a worker prints.
const ID: usize = 16;

/// The digits of a length in a header: as many as `u64` has.
const DIGITS: usize = 20;

/// How requests and replies are delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frames {
    /// `ID request\n` in, `ID reply\n` out. A request with a newline or a NUL byte is refused.
    #[default]
    Lines,
    /// `ID LENGTH\n` and so many bytes, both ways.
    Bytes,
}

/// A request's id, and the space after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id([u8; ID + 1]);

impl Id {
    pub(super) fn new(number: u64) -> Self {
        let mut text = String::with_capacity(ID + 1);
        // Into a string, which cannot fail.
        let _ = write!(text, "{number:016x} ");
        let mut id = [b' '; ID + 1];
        for (to, from) in id.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self(id)
    }
}

impl Frames {
    /// The bytes that a worker gets, or why it cannot get them.
    pub(super) fn request(self, id: Id, request: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut framed = Vec::with_capacity(request.len() + ID + DIGITS + 2);
        framed.extend_from_slice(&id.0);
        match self {
            Self::Lines => {
                let line = request.strip_suffix(b"\n").unwrap_or(request);
                if memchr(b'\n', line).is_some() {
                    return Err(
                        "the request holds a newline, and the workers take lines: --frames bytes",
                    );
                }
                if memchr(0, line).is_some() {
                    return Err(
                        "the request holds a NUL byte, and the workers take lines: --frames bytes",
                    );
                }
                framed.extend_from_slice(line);
                framed.push(b'\n');
            }
            Self::Bytes => {
                framed.extend_from_slice(format!("{}\n", request.len()).as_bytes());
                framed.extend_from_slice(request);
            }
        }
        Ok(framed)
    }
}

/// What a worker has written and nobody has taken yet.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    /// So much of it is known to hold no beginning of the reply that is awaited.
    searched: usize,
    /// How many bytes of the reply are known to hold no end.
    scanned: usize,
    stray: Lines,
}

impl Default for Output {
    fn default() -> Self {
        Self { bytes: Vec::new(), searched: 0, scanned: 0, stray: Lines::limited() }
    }
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    Reply(Vec<u8>),
    /// Not all of it.
    More,
    /// More than a reply may have.
    TooLong,
}

impl Output {
    /// Looks for the reply that begins with `id`. What stands before it is no reply: `stray` is told
    /// each of its lines.
    pub(super) fn reply(&mut self, frames: Frames, id: Id, mut stray: impl FnMut(String)) -> Came {
        loop {
            let Some(at) = memmem::find(&self.bytes[self.searched..], &id.0) else {
                // The id may have come in part.
                let known = self.bytes.len().saturating_sub(ID);
                self.stray.push(&self.bytes[..known], &mut stray);
                self.bytes.drain(..known);
                self.searched = 0;
                return Came::More;
            };
            let at = self.searched + at;
            if at > 0 {
                self.stray.push(&self.bytes[..at], &mut stray);
                self.stray.end(&mut stray);
                self.bytes.drain(..at);
                self.searched = 0;
            }
            let body = ID + 1;
            let end = match frames {
                Frames::Lines => self.line_from(body),
                Frames::Bytes => {
                    let Some(end) = self.counted_from(body) else {
                        // The id stands in something that is no header.
                        self.searched = body;
                        continue;
                    };
                    end
                }
            };
            return match end {
                End::At { from, to, with_newline } => {
                    let mut reply = self.bytes[from..to].to_vec();
                    if with_newline || reply.is_empty() {
                        // An empty reply cannot be told from a server that died.
                        reply.push(b'\n');
                    }
                    self.bytes.drain(..to + usize::from(with_newline));
                    (self.searched, self.scanned) = (0, 0);
                    Came::Reply(reply)
                }
                End::More => Came::More,
                End::TooLong => Came::TooLong,
            };
        }
    }

    /// Tells what is left when nothing more will come.
    pub(super) fn rest(&mut self, mut stray: impl FnMut(String)) {
        self.stray.push(&self.bytes, &mut stray);
        self.stray.end(&mut stray);
        self.bytes.clear();
        (self.searched, self.scanned) = (0, 0);
    }

    fn line_from(&mut self, body: usize) -> End {
        if let Some(at) = memchr(b'\n', &self.bytes[body + self.scanned..]) {
            return End::At { from: body, to: body + self.scanned + at, with_newline: true };
        }
        self.scanned = self.bytes.len() - body;
        if self.scanned > LONGEST_REPLY { End::TooLong } else { End::More }
    }

    /// None if no number follows.
    fn counted_from(&self, body: usize) -> Option<End> {
        let header = &self.bytes[body..self.bytes.len().min(body + DIGITS + 2)];
        let Some(end) = memchr(b'\n', header) else {
            let is_number = header.iter().all(u8::is_ascii_digit) && header.len() <= DIGITS;
            return is_number.then_some(End::More);
        };
        // PHP's and Python's text modes may write a carriage return before it.
        let digits = header[..end].strip_suffix(b"\r").unwrap_or(&header[..end]);
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
        let length = length.parse().ok();
        let Some(length) = length.filter(|length: &usize| *length <= LONGEST_REPLY) else {
            return Some(End::TooLong);
        };
        let from = body + end + 1;
        Some(match from + length <= self.bytes.len() {
            true => End::At { from, to: from + length, with_newline: false },
            false => End::More,
        })
    }
}

enum End {
    At { from: usize, to: usize, with_newline: bool },
    More,
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"0000000000000001 ";

    fn read(frames: Frames, parts: &[&[u8]]) -> (Vec<Came>, Vec<String>) {
        let (mut output, mut came, mut stray) = (Output::default(), Vec::new(), Vec::new());
        for part in parts {
            output.bytes.extend_from_slice(part);
            came.push(output.reply(frames, Id::new(1), |line| stray.push(line)));
        }
        (came, stray)
    }

    #[test]
    fn a_reply_is_found_among_whatever_stands_around_it() {
        let text = [b"Warning: x\nno end ", ONE, b"reply\nlate\n"].concat();
        let (came, stray) = read(Frames::Lines, &[&text]);
        assert_eq!(came, [Came::Reply(b"reply\n".to_vec())]);
        assert_eq!(stray, ["Warning: x", "no end"]);
    }

    #[test]
    fn a_reply_is_found_wherever_it_is_cut() {
        for frames in [Frames::Lines, Frames::Bytes] {
            let reply: &[u8] = if frames == Frames::Lines { b"ab\n" } else { b"3\na\n\0" };
            let text = [b"stray\n0000000000000002 other\n", ONE, reply, b"more"].concat();
            for cut in 0..text.len() {
                let (mut came, stray) = read(frames, &[&text[..cut], &text[cut..]]);
                let expected = if frames == Frames::Lines { "ab\n" } else { "a\n\0" };
                let found = came.iter_mut().find(|came| **came != Came::More).unwrap();
                assert_eq!(*found, Came::Reply(expected.into()), "{frames:?} cut at {cut}");
                let found: Vec<_> = stray.iter().map(|line| &**line).take(2).collect();
                assert_eq!(found, ["stray", "0000000000000002 other"], "{frames:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_id_in_something_else_is_no_header() {
        let text = [b"got ", ONE, b"5 bytes\n", ONE, b"2\nok"].concat();
        let (came, _) = read(Frames::Bytes, &[&text]);
        assert_eq!(came, [Came::Reply(b"ok".to_vec())]);
        let (came, _) = read(Frames::Bytes, &[&[ONE, b"99999999999\n"].concat()]);
        assert_eq!(came, [Came::TooLong]);
    }

    #[test]
    fn a_request_is_one_line_or_counted() {
        let framed = |frames: Frames, request: &[u8]| frames.request(Id::new(1), request);
        assert_eq!(framed(Frames::Lines, b"a\r\n").unwrap(), [ONE, b"a\r\n"].concat());
        assert_eq!(framed(Frames::Lines, b"").unwrap(), [ONE, b"\n"].concat());
        assert!(framed(Frames::Lines, b"a\nb").unwrap_err().contains("a newline"));
        assert!(framed(Frames::Lines, b"a\0b").unwrap_err().contains("a NUL"));
        assert_eq!(framed(Frames::Bytes, b"a\nb\n").unwrap(), [ONE, b"4\na\nb\n"].concat());
    }

    #[test]
    fn stray_output_without_an_end_takes_bounded_memory() {
        let mut output = Output::default();
        for _ in 0..100 {
            output.bytes.extend_from_slice(&vec![b'x'; 100_000]);
            assert_eq!(output.reply(Frames::Lines, Id::new(1), |_| {}), Came::More);
        }
        assert!(output.bytes.len() <= ID);
    }
}
