//! How a client says its requests and reads its answers, in each wire. Written apart from the server's own
//! codecs, so that an error in one of the two is seen.

use std::io::Write;

use super::plan::{Form, RequestPlan};
use crate::wire::goridge::crc32;
use crate::wire::lines::{Delimiter, Errors};
use crate::wire::{Goridge, Http, Lines, Wire};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Lines,
    Nul,
    Http,
    Goridge,
}

/// What a client reads as one answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Where it ends.
    pub(super) end: usize,
    /// That there is none, and why.
    pub(super) is_refusal: bool,
    pub(super) body: Vec<u8>,
    /// In HTTP, whether it says that the connection ends.
    pub(super) is_last: bool,
    /// In Goridge, which request it is of.
    pub(super) sequence: Option<u32>,
}

impl Speech {
    pub(super) fn wire(self) -> Wire {
        match self {
            Self::Lines => Wire::Lines(Lines::new(Delimiter::Newline, Errors::Text)),
            Self::Nul => Wire::Lines(Lines::new(Delimiter::Nul, Errors::Text)),
            Self::Http => Wire::Http(Http::default()),
            Self::Goridge => Wire::Goridge(Goridge::default()),
        }
    }

    fn delimiter(self) -> u8 {
        if self == Self::Nul { 0 } else { b'\n' }
    }

    pub(super) fn request(self, id: u32, nth: usize, plan: &RequestPlan, out: &mut Vec<u8>) {
        let body = &plan.body;
        match self {
            Self::Lines | Self::Nul => {
                out.extend_from_slice(body);
                out.push(self.delimiter());
            }
            Self::Http => http(id, nth, plan, out),
            Self::Goridge => {
                let method = format!("Sim.{nth}");
                let mut start = vec![0x15, 0x08];
                let length = u32::try_from(method.len() + body.len()).unwrap();
                start.extend(length.to_le_bytes());
                let sum = crc32(&start);
                out.extend(start);
                out.extend(sum.to_le_bytes());
                out.extend([0; 2]);
                out.extend(u32::try_from(nth).unwrap().to_le_bytes());
                out.extend(u32::try_from(method.len()).unwrap().to_le_bytes());
                out.extend_from_slice(method.as_bytes());
                out.extend_from_slice(body);
            }
        }
    }

    /// All whole answers.
    pub(super) fn answers(
        self,
        written: &[u8],
        requests: &[RequestPlan],
    ) -> Result<Vec<Answer>, String> {
        let mut answers: Vec<Answer> = Vec::new();
        loop {
            let begin = answers.last().map_or(0, |answer| answer.end);
            let Some(answer) = self.next(&written[begin..], requests.get(answers.len()))? else {
                return Ok(answers);
            };
            answers.push(Answer { end: begin + answer.end, ..answer });
        }
    }

    /// The next answer, to this request, once it is whole.
    pub(super) fn next(
        self,
        rest: &[u8],
        request: Option<&RequestPlan>,
    ) -> Result<Option<Answer>, String> {
        match self {
            Self::Lines | Self::Nul => Ok(self.line(rest)),
            Self::Goridge => frame(rest),
            Self::Http => response(rest, request.is_some_and(|plan| plan.form == Form::Head)),
        }
    }

    fn line(self, rest: &[u8]) -> Option<Answer> {
        let end = rest.iter().position(|&byte| byte == self.delimiter())?;
        let (is_refusal, body) = match rest[..end].strip_prefix(b"ERR ") {
            Some(reason) => (true, reason),
            None => (false, &rest[..end]),
        };
        let body = body.to_vec();
        Some(Answer { end: end + 1, is_refusal, body, is_last: false, sequence: None })
    }
}

fn http(id: u32, nth: usize, plan: &RequestPlan, out: &mut Vec<u8>) {
    let RequestPlan { body, form, .. } = plan;
    let method = if *form == Form::Head { "HEAD" } else { "POST" };
    let _ = write!(out, "{method} /{id}/{nth} HTTP/1.1\r\nHost: x\r\n");
    match form {
        Form::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Form::Expect => out.extend_from_slice(b"Expect: 100-continue\r\n"),
        Form::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Form::Head | Form::Length => {}
    }
    if !matches!(form, Form::Head | Form::Chunked) {
        let _ = write!(out, "Content-Length: {}\r\n", body.len());
    }
    out.extend_from_slice(b"\r\n");
    if *form != Form::Chunked {
        return out.extend_from_slice(body);
    }
    for chunk in body.chunks(40) {
        let _ = write!(out, "{:x}\r\n", chunk.len());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
}

fn frame(rest: &[u8]) -> Result<Option<Answer>, String> {
    let Some(header) = rest.first_chunk::<20>() else { return Ok(None) };
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    if header[0] != 0x15 || word(6) != crc32(&header[..6]) {
        return Err(format!("no frame: {}", header.escape_ascii()));
    }
    let (end, begin) = (20 + word(2) as usize, 20 + word(16) as usize);
    let (is_refusal, sequence) = (header[1] & 0x40 != 0, Some(word(12)));
    let Some(body) = rest.get(begin..end) else { return Ok(None) };
    Ok(Some(Answer { end, is_refusal, body: body.to_vec(), is_last: false, sequence }))
}

fn response(rest: &[u8], to_head: bool) -> Result<Option<Answer>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut head = httparse::Response::new(&mut headers);
    let begin = match head.parse(rest) {
        Ok(httparse::Status::Complete(begin)) => begin,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("no response: {error}: {}", rest.escape_ascii())),
    };
    let code = head.code.unwrap_or(0);
    if code == 100 {
        let answer = response(&rest[begin..], to_head)?;
        return Ok(answer.map(|answer| Answer { end: begin + answer.end, ..answer }));
    }
    let value = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).into_owned())
    };
    let is_last = value("connection").as_deref() == Some("close");
    let (is_refusal, sequence) = (code >= 400, None);
    let of = |end, body| Ok(Some(Answer { end, is_refusal, body, is_last, sequence }));
    // A request that was not read to the end of its head has a body in its answer, whatever it was to be.
    // Of the next answer perhaps only a part was written.
    let next = &rest[begin..];
    if to_head && next.iter().zip(b"HTTP/1.1 ").all(|(one, other)| one == other) {
        return of(begin, Vec::new());
    }
    if let Some(length) = value("content-length") {
        let end = begin + length.parse::<usize>().map_err(|error| error.to_string())?;
        return rest.get(begin..end).map_or(Ok(None), |body| of(end, body.to_vec()));
    }
    if value("transfer-encoding").as_deref() != Some("chunked") {
        return Err("a response without a length".into());
    }
    let (mut at, mut body) = (begin, Vec::new());
    loop {
        let Some(line) = rest[at..].windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = String::from_utf8_lossy(&rest[at..at + line]);
        let size = usize::from_str_radix(&size, 16).map_err(|_| format!("no chunk: {size:?}"))?;
        let (from, to) = (at + line + 2, at + line + 2 + size);
        let Some(chunk) = rest.get(from..to + 2) else { return Ok(None) };
        if &chunk[size..] != b"\r\n" {
            return Err("a chunk that does not end".into());
        }
        body.extend_from_slice(&chunk[..size]);
        at = to + 2;
        if size == 0 {
            return of(at, body);
        }
    }
}
