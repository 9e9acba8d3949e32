//! What a reply looks like: RFC 9112, section 4 and 6.

use std::fmt::{self, Write as _};

use super::super::refusal::{Kind, Unspeakable};
use super::head::{Head, Version};
use crate::parts::ReplyHead;

/// How the end of a reply's body is known to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Body {
    /// The head has stated its length.
    #[default]
    Counted,
    /// In chunks; the end of the last one is owed still if `open`.
    Chunked { open: bool },
    /// By the close: HTTP/1.0 knows no chunks.
    UntilClose,
    /// There is none, whatever the handler said: after HEAD, or with such a status.
    None,
}

impl Body {
    pub(super) fn of(asked: Option<&Head>, status: u16, length: Option<usize>) -> Self {
        let bodiless = matches!(status, 204 | 304) || asked.is_some_and(|head| head.wants_no_body);
        match length {
            _ if bodiless => Self::None,
            Some(_) => Self::Counted,
            None if asked.is_some_and(|head| head.version == Version::Old) => Self::UntilClose,
            None => Self::Chunked { open: false },
        }
    }

    pub(super) fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) -> usize {
        match self {
            Self::None => return 0,
            // An empty chunk would be the last.
            Self::Chunked { open } if !piece.is_empty() => {
                let before = if std::mem::replace(open, true) { "\r\n" } else { "" };
                write(out, format_args!("{before}{:x}\r\n", piece.len()));
            }
            Self::Chunked { .. } | Self::Counted | Self::UntilClose => {}
        }
        piece.len()
    }

    pub(super) fn tail(&mut self, out: &mut Vec<u8>) {
        if let Self::Chunked { open } = *self {
            out.extend_from_slice(if open { b"\r\n0\r\n\r\n" } else { b"0\r\n\r\n" });
        }
    }
}

/// Whether it can be said, and whether it ends the connection.
pub(super) fn check(head: ReplyHead<'_>) -> Result<bool, Unspeakable> {
    if !(200..600).contains(&head.status) {
        return Err(Unspeakable(format!("expected a status of 200 to 599, got {}", head.status)));
    }
    let mut closes = false;
    for (name, value) in head.headers {
        let token = !name.is_empty() && name.bytes().all(is_token);
        let printable = value.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control());
        if !token || !printable {
            let header = format!("{name}: {value}").escape_debug().to_string();
            return Err(Unspeakable(format!("this is no header: {header}")));
        }
        if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            closes = true;
        } else if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            return Err(Unspeakable(format!("the server says {name} itself: leave it out")));
        }
    }
    Ok(closes)
}

/// What decides how the client reads the reply and the connection.
const OURS: [&str; 6] =
    ["connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"];

pub(super) fn head(
    head: ReplyHead<'_>,
    body: Body,
    length: Option<usize>,
    last: bool,
    out: &mut Vec<u8>,
) {
    // Not by `write!`: that took longer than all else of a reply.
    out.extend_from_slice(b"HTTP/1.1 ");
    put_number(head.status.into(), out);
    out.push(b' ');
    out.extend_from_slice(phrase(head.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in head.headers {
        if !name.eq_ignore_ascii_case("connection") {
            for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
    match length {
        // They have no body, so no length: RFC 9110, section 8.6.
        _ if matches!(head.status, 204 | 304) => {}
        Some(length) => {
            out.extend_from_slice(b"Content-Length: ");
            put_number(length, out);
            out.extend_from_slice(b"\r\n");
        }
        None if body == Body::UntilClose => {}
        None => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if last {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// The status that says so, and whether to try again soon.
pub(super) fn status(kind: Kind) -> (u16, bool) {
    match kind {
        Kind::Malformed | Kind::NoJson => (400, false),
        Kind::NotAllowed => (403, false),
        Kind::RequestLate => (408, false),
        Kind::TooLong => (413, false),
        Kind::Expectation => (417, false),
        Kind::HeadTooLong => (431, false),
        Kind::HandlerFailed => (500, false),
        Kind::Unsupported => (501, false),
        Kind::Busy | Kind::Stopping => (503, true),
        Kind::HandlerLate => (504, false),
        Kind::Version => (505, false),
    }
}

/// For people; programs read the number. May be empty: RFC 9112, section 4.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// In decimal digits.
fn put_number(mut number: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b"0123456789"[number % 10];
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[first..]);
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A vector takes everything.
fn write(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    let _ = Text(out).write_fmt(text);
}

struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
