//! A body in chunks: RFC 9112, section 7.1.

use std::ops::Range;

use memchr::memchr;

use super::super::decoded::Violation;
use super::super::refusal::Kind;

/// Extensions and trailers, all together, which hardly anybody sends. As many bytes as hyper takes.
const MOST_EXTRAS: usize = 16 * 1024;

/// Sizes and line ends may take as much as the longest body, and this: a body in chunks of seven bytes
/// takes twice its length.
const OVERHEAD: usize = 64 * 1024;

/// How far the chunks were looked at.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    /// Where the next line or chunk begins.
    at: usize,
    scanned: usize,
    /// Bytes of the body, of what frames it, and of what nobody asked for.
    body: usize,
    framing: usize,
    extras: usize,
    next: Next,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Size,
    Data(usize),
    Trailer,
}

impl Chunks {
    pub(super) fn new(at: usize) -> Self {
        Self { at, scanned: at, body: 0, framing: 0, extras: 0, next: Next::Size }
    }

    /// Where they end; `None`: they are not whole.
    pub(super) fn end(&mut self, input: &[u8], most: usize) -> Result<Option<usize>, Violation> {
        loop {
            match self.next {
                Next::Size => {
                    let Some(line) = self.line(input)? else { return Ok(None) };
                    let length = line.len() + "\r\n\r\n".len();
                    let (size, extension) = size(&input[line])
                        .ok_or_else(|| bad("expected a chunk's size in hexadecimal digits"))?;
                    self.count_framing(length, most)?;
                    self.count_extras(extension)?;
                    let fits = usize::try_from(size).ok().filter(|size| *size <= most - self.body);
                    let Some(size) = fits else {
                        return Err(Violation::too_long(most, input.len()));
                    };
                    self.body += size;
                    self.next = if size == 0 { Next::Trailer } else { Next::Data(size) };
                }
                Next::Data(size) => {
                    let Some(after) = input[self.at..].get(size..) else { return Ok(None) };
                    match after {
                        [b'\r', b'\n', ..] => {}
                        [] | [b'\r'] => return Ok(None),
                        _ => return Err(bad("expected CRLF after a chunk")),
                    }
                    self.at += size + 2;
                    self.scanned = self.at;
                    self.next = Next::Size;
                }
                Next::Trailer => {
                    let Some(line) = self.line(input)? else { return Ok(None) };
                    if line.is_empty() {
                        return Ok(Some(self.at));
                    }
                    self.count_extras(line.len())?;
                    check_trailer(&input[line])?;
                }
            }
        }
    }

    fn count_framing(&mut self, bytes: usize, most: usize) -> Result<(), Violation> {
        self.framing += bytes;
        if self.framing > most.saturating_add(OVERHEAD) {
            let reason = "the chunks are so small that their framing is longer than any body";
            return Err(violation(Kind::TooLong, reason));
        }
        Ok(())
    }

    fn count_extras(&mut self, bytes: usize) -> Result<(), Violation> {
        self.extras += bytes;
        if self.extras > MOST_EXTRAS {
            let reason = format!("more than {MOST_EXTRAS} bytes of chunk extensions and trailers");
            return Err(violation(Kind::HeadTooLong, &reason));
        }
        Ok(())
    }

    /// The next line, without its end.
    fn line(&mut self, input: &[u8]) -> Result<Option<Range<usize>>, Violation> {
        let found = memchr(b'\n', &input[self.scanned..]);
        let end = found.map_or(input.len(), |at| self.scanned + at);
        self.scanned = end;
        if end - self.at > MOST_EXTRAS {
            let reason = format!("a line between chunks is longer than {MOST_EXTRAS} bytes");
            return Err(violation(Kind::HeadTooLong, &reason));
        }
        if found.is_none() {
            return Ok(None);
        }
        let Some(b'\r') = input[self.at..end].last() else {
            return Err(bad("a line between chunks ends with LF alone: expected CRLF"));
        };
        let line = self.at..end - 1;
        self.at = end + 1;
        self.scanned = self.at;
        Ok(Some(line))
    }
}

/// Takes away what frames a body that [`Chunks`] has found whole.
pub(super) fn join(chunked: &mut Vec<u8>) {
    let (mut at, mut body) = (0, 0);
    while let Some(line) = memchr(b'\n', &chunked[at..]) {
        let data = at + line + 1;
        let size = size(&chunked[at..data - 2]).map(|(size, _)| usize::try_from(size));
        let Some(Ok(size @ 1..)) = size else { break };
        chunked.copy_within(data..data + size, body);
        body += size;
        at = data + size + 2;
    }
    chunked.truncate(body);
}

/// A chunk's size, and the length of its extension, which is skipped. No spaces: readers differ in where
/// they take them.
fn size(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, extension) = line.split_at(digits);
    let skippable = match extension {
        [] => true,
        [b';', rest @ ..] => rest.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()),
        _ => false,
    };
    if !skippable || !(1..=16).contains(&digits.len()) {
        return None;
    }
    let size = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((size, extension.len()))
}

/// Trailers are dropped, as RFC 9110, section 6.5.1 allows, if they are some.
fn check_trailer(line: &[u8]) -> Result<(), Violation> {
    let field = [line, b"\r\n\r\n"].concat();
    match httparse::parse_headers(&field, &mut [httparse::EMPTY_HEADER]) {
        Ok(httparse::Status::Complete((length, [_]))) if length == field.len() => Ok(()),
        _ => Err(bad("expected a trailer such as Name: value after the last chunk")),
    }
}

fn bad(reason: &str) -> Violation {
    violation(Kind::Malformed, reason)
}

fn violation(kind: Kind, reason: &str) -> Violation {
    Violation { kind, reason: reason.into(), used: 0 }
}
