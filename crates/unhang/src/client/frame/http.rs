//! Responses of HTTP/1.1, one after another (RFC 9112).

use httparse::{Response, Status};

use super::Taken;

/// Finds the end of responses, and their bodies.
#[derive(Clone, Debug, Default)]
pub(super) struct HttpReader {
    status: u16,
    stays_open: bool,
    at: Part,
    /// What came of a head, or of a line between chunks.
    text: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    /// So many bytes of the body, and its end.
    Body(u64),
    /// The line that says how long a chunk is.
    Size,
    /// So many bytes of a chunk with the line end behind it, which is two of them.
    Chunk(u64),
    /// Lines behind the last chunk, up to an empty one.
    Trailer,
    UntilClose,
}

/// How long a head may be, or a line between chunks. Servers give up at 8 to 64 KiB of a request's.
const LONGEST: usize = 64 * 1024;
/// Fields of a head.
const FIELDS: usize = 100;

const TOO_LONG: &str = "expected an HTTP head of at most 64 KiB, got more";
const NO_HEAD: &str = "expected an HTTP/1.1 response, got something else";
const NO_CHUNK: &str = "expected the size of an HTTP chunk, got something else";
const TWO_LENGTHS: &str = "expected one length of the HTTP body, got two that differ";
const NO_LENGTH: &str = "expected a number as the length of the HTTP body, got something else";
const UPGRADE: &str = "expected an HTTP response, got 101: another protocol";
const CODING: &str = "expected an HTTP body in chunks or with a length, got another coding";

impl HttpReader {
    pub(super) fn take(
        &mut self,
        input: &[u8],
        body: &mut dyn FnMut(&[u8]),
    ) -> Result<Taken, &'static str> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let is_whole = match self.at {
                Part::Body(0) => true,
                Part::Body(left) => {
                    let here = within(rest, left);
                    body(&rest[..here]);
                    used += here;
                    self.at = Part::Body(left - here as u64);
                    left == here as u64
                }
                Part::UntilClose => {
                    body(rest);
                    used = input.len();
                    false
                }
                Part::Chunk(left) => {
                    let here = within(rest, left);
                    let data = usize::try_from(left.saturating_sub(2)).unwrap_or(usize::MAX);
                    body(&rest[..here.min(data)]);
                    used += here;
                    let left = left - here as u64;
                    self.at = if left == 0 { Part::Size } else { Part::Chunk(left) };
                    false
                }
                Part::Head | Part::Size | Part::Trailer => {
                    let line = rest.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
                    let here = line.unwrap_or(rest.len());
                    self.text.extend_from_slice(&rest[..here]);
                    used += here;
                    if self.text.len() > LONGEST {
                        return Err(TOO_LONG);
                    }
                    match line.map(|_| self.line()) {
                        Some(Err(why)) => {
                            self.text.extend_from_slice(&input[used..]);
                            return Err(why);
                        }
                        Some(Ok(is_whole)) => is_whole,
                        None => false,
                    }
                }
            };
            if is_whole {
                self.at = Part::Head;
                return Ok(Taken { used, is_whole });
            }
            if used == input.len() {
                return Ok(Taken { used, is_whole: self.ends_here() });
            }
        }
    }

    pub(super) fn is_until_close(&self) -> bool {
        self.at == Part::UntilClose
    }

    pub(super) fn stays_open(&self) -> bool {
        self.stays_open
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// How much of the body is still to come, if its head has said so.
    pub(super) fn left(&self) -> u64 {
        if let Part::Body(left) = self.at { left } else { 0 }
    }

    /// What came in place of a head.
    pub(super) fn no_head(&self) -> &[u8] {
        if self.status == 0 { &self.text } else { &[] }
    }

    /// A body of no bytes ends with its head.
    fn ends_here(&mut self) -> bool {
        let ends = self.at == Part::Body(0);
        if ends {
            self.at = Part::Head;
        }
        ends
    }

    /// A line has come. Whether the response ends with it.
    fn line(&mut self) -> Result<bool, &'static str> {
        match self.at {
            Part::Size => {
                let size = httparse::parse_chunk_size(&self.text).map_err(|_| NO_CHUNK)?;
                let Status::Complete((_, size)) = size else { return Ok(false) };
                self.at = match size {
                    0 => Part::Trailer,
                    size => Part::Chunk(size.checked_add(2).ok_or(NO_CHUNK)?),
                };
            }
            Part::Trailer if self.text.trim_ascii().is_empty() => {
                self.text.clear();
                return Ok(true);
            }
            Part::Trailer => {}
            _ => return self.head().map(|()| false),
        }
        self.text.clear();
        Ok(false)
    }

    /// The head, if it is whole.
    fn head(&mut self) -> Result<(), &'static str> {
        let text = std::mem::take(&mut self.text);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut response = Response::new(&mut fields);
        match response.parse(&text) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) => {
                self.text = text;
                return Ok(());
            }
            Err(_) => {
                self.text = text;
                return Err(NO_HEAD);
            }
        }
        self.status = response.code.unwrap_or_default();
        self.stays_open = response.version == Some(1);
        let (mut length, mut is_chunked) = (None, false);
        for field in response.headers.iter() {
            let value = field.value.trim_ascii();
            if field.name.eq_ignore_ascii_case("content-length") {
                let number = number(value)?;
                if length.is_some_and(|length| length != number) {
                    return Err(TWO_LENGTHS);
                }
                length = Some(number);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(CODING);
                }
                is_chunked = true;
            } else if field.name.eq_ignore_ascii_case("connection") {
                let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                self.stays_open &= !words.any(|word| word.eq_ignore_ascii_case(b"close"));
            }
        }
        self.at = match (self.status, is_chunked, length) {
            (101, ..) => return Err(UPGRADE),
            // Another head follows: RFC 9110, section 15.2.
            (100..=199, ..) => Part::Head,
            (204 | 304, ..) => Part::Body(0),
            (_, true, Some(_)) => return Err(TWO_LENGTHS),
            (_, true, None) => Part::Size,
            (_, false, Some(length)) => Part::Body(length),
            (_, false, None) => {
                self.stays_open = false;
                Part::UntilClose
            }
        };
        Ok(())
    }
}

fn within(rest: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()))
}

fn number(value: &[u8]) -> Result<u64, &'static str> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(NO_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bodies of all responses, and whether the last one leaves the connection open; the same in
    /// pieces of every size.
    fn read(input: &[u8]) -> Result<(Vec<Vec<u8>>, bool), &'static str> {
        let all = |size: usize| {
            let (mut reader, mut bodies, mut body) =
                (HttpReader::default(), Vec::new(), Vec::new());
            for mut piece in input.chunks(size) {
                while !piece.is_empty() {
                    let mut take = |part: &[u8]| body.extend_from_slice(part);
                    let taken = reader.take(piece, &mut take)?;
                    piece = &piece[taken.used..];
                    if taken.is_whole {
                        bodies.push(std::mem::take(&mut body));
                    }
                }
            }
            if reader.is_until_close() {
                bodies.push(body);
            }
            Ok((bodies, reader.stays_open()))
        };
        let whole = all(input.len());
        for size in 1..input.len() {
            assert_eq!(all(size), whole, "{size} at a time");
        }
        whole
    }

    #[test]
    fn responses_end_where_they_say_in_whatever_pieces_they_come() {
        let input = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\none\r\n2\r\nup\r\n0\r\nA: b\r\n\r\n\
            HTTP/1.1 200 OK\r\nConnection: x, Close\r\ncontent-length: 0\r\n\r\n";
        let bodies: Vec<Vec<u8>> =
            [&b"hello"[..], b"", b"oneup", b""].iter().map(|body| body.to_vec()).collect();
        assert_eq!(read(input), Ok((bodies, false)));
        let until_close = read(b"HTTP/1.1 200 OK\r\n\r\nall of it");
        assert_eq!(until_close, Ok((vec![b"all of it".to_vec()], false)));
        let old = read(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(old, Ok((vec![b"x".to_vec()], false)));
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_broken() {
        for (input, why) in [
            (&b"OK\r\n\r\n"[..], NO_HEAD),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", TWO_LENGTHS),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                TWO_LENGTHS,
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", NO_LENGTH),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", CODING),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", UPGRADE),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", NO_CHUNK),
            (&vec![b'x'; LONGEST + 1], TOO_LONG),
        ] {
            let mut reader = HttpReader::default();
            assert_eq!(reader.take(input, &mut |_| {}), Err(why));
        }
    }
}
