//! A request's head: where it ends, and what it says about the request.

use std::mem::MaybeUninit;

use memchr::memchr;

use super::super::decoded::Violation;
use super::super::refusal::Kind;
use crate::parts::RequestParts;

/// The longest head. A browser's or a proxy's is some hundred bytes to some KiB; Node takes 16 KiB,
/// nginx 32 KiB, so a request that came through one of them always fits.
const LONGEST: usize = 64 * 1024;

/// As many as hyper and httpd take. Programs send some ten.
const MOST_HEADERS: usize = 100;

/// How far the end of a head was looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Scan {
    /// Where the head begins: after empty lines.
    start: usize,
    /// Where the line begins whose end was not found yet.
    line: usize,
    scanned: usize,
}

/// What a head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Where it ends in the input, and the body begins.
    pub(super) end: usize,
    pub(super) framing: Framing,
    pub(super) version: Version,
    /// HEAD: the reply has no body.
    pub(super) wants_no_body: bool,
    pub(super) keeps_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) parts: Option<RequestParts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Such a client knows neither chunks nor interim replies, nor keeps its connection.
    Old,
    Http11,
}

/// How the end of the body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

impl Scan {
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// `None`: it is not whole.
    pub(super) fn head(&mut self, input: &[u8]) -> Result<Option<Head>, Violation> {
        while let Some(at) = memchr(b'\n', &input[self.scanned..]) {
            let end = self.scanned + at + 1;
            if end > LONGEST {
                break;
            }
            let line = &input[self.line..end];
            let empty = line == b"\r\n";
            if !line.ends_with(b"\r\n") {
                return Err(bad("a line ends with LF alone: expected CRLF"));
            }
            if !empty && self.line == self.start {
                check_first(line)?;
            } else if matches!(line, [b' ' | b'\t', ..]) {
                return Err(bad("a header is folded: expected it in one line"));
            }
            let before = std::mem::replace(&mut self.line, end);
            self.scanned = end;
            match empty {
                true if before == self.start => self.start = end,
                true => return read(&input[self.start..end], end).map(Some),
                false => {}
            }
        }
        if self.line == self.start {
            check_first(&input[self.start..])?;
        }
        self.scanned = input.len();
        if self.scanned > LONGEST {
            let reason = format!("the head is longer than {LONGEST} bytes");
            return Err(Violation { kind: Kind::HeadTooLong, reason, used: input.len() });
        }
        Ok(None)
    }
}

/// A client that speaks something else (TLS, say) is told at once, not at the deadline.
fn check_first(line: &[u8]) -> Result<(), Violation> {
    match line {
        [] | [b'\r' | b'!'..=b'~', ..] => Ok(()),
        [byte, ..] => Err(bad(&format!("expected a method, got the byte {byte:#04x}"))),
    }
}

fn bad(reason: &str) -> Violation {
    violation(Kind::Malformed, reason)
}

/// Nothing of the input is used: where the next request begins cannot be said.
fn violation(kind: Kind, reason: &str) -> Violation {
    Violation { kind, reason: reason.into(), used: 0 }
}

fn read(bytes: &[u8], end: usize) -> Result<Head, Violation> {
    let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(bad("the head ends before its empty line")),
        Err(httparse::Error::TooManyHeaders) => {
            let reason = format!("more than {MOST_HEADERS} headers");
            return Err(violation(Kind::HeadTooLong, &reason));
        }
        Err(httparse::Error::Version) if names_a_version(bytes) => {
            return Err(violation(Kind::Version, "expected HTTP/1.1 or HTTP/1.0"));
        }
        Err(error) => return Err(bad(&format!("the head cannot be read: {error}"))),
    }
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(bad("the head has no request line"));
    };
    check_target(method, target)?;
    let version = if version == 1 { Version::Http11 } else { Version::Old };
    let said = Said::read(request.headers)?;
    let framing = said.framing(version)?;
    let expects_continue = version == Version::Http11 && said.expects_continue()?;
    let fields = request.headers.iter().map(|header| (header.name, header.value));
    Ok(Head {
        end,
        framing,
        version,
        wants_no_body: method == "HEAD",
        keeps_alive: version == Version::Http11 && !said.close,
        expects_continue,
        parts: Some(RequestParts::new(bytes, method, target, fields)),
    })
}

/// Whether the request line is one, but of another version.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let digits = words.next().and_then(|word| word.strip_prefix(b"HTTP/"));
    words.next().is_none()
        && matches!(digits, Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// RFC 9112, section 3.2. Readers differ in what they make of a fragment and of bytes beyond ASCII, and
/// refuse some that RFC 3986 does not allow; clients escape all of these.
fn check_target(method: &str, target: &str) -> Result<(), Violation> {
    if method == "CONNECT" {
        return Err(violation(Kind::Unsupported, "CONNECT is not spoken here"));
    }
    let path = path(target);
    let form = path.starts_with('/') || target == "*" && method == "OPTIONS";
    if form && target.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>`".contains(&byte)) {
        Ok(())
    } else {
        Err(bad("expected a target such as /path?query, with all but plain ASCII escaped"))
    }
}

/// What follows the scheme and the host, if the target is a whole URL, as for a proxy.
fn path(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let Some((scheme, rest)) = target.split_once("://") else { return target };
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let known = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let named = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    match known && named && port.bytes().all(|byte| byte.is_ascii_digit()) {
        true if path.is_empty() => "/",
        true => path,
        false => target,
    }
}

/// The headers that decide how the request is read.
#[derive(Default)]
struct Said<'a> {
    length: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    host: bool,
    expect: Option<&'a [u8]>,
    close: bool,
}

impl<'a> Said<'a> {
    fn read(headers: &[httparse::Header<'a>]) -> Result<Self, Violation> {
        let mut said = Self::default();
        for header in headers {
            let name = header.name;
            let value = header.value;
            let twice = if name.eq_ignore_ascii_case("content-length") {
                said.length.replace(value).is_some()
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                said.encoding.replace(value).is_some()
            } else if name.eq_ignore_ascii_case("host") {
                std::mem::replace(&mut said.host, true)
            } else if name.eq_ignore_ascii_case("expect") {
                said.expect.replace(value).is_some()
            } else {
                if name.eq_ignore_ascii_case("connection") {
                    let mut options = value.split(|byte| *byte == b',');
                    said.close |= options.any(|option| is(option, "close"));
                }
                false
            };
            if twice {
                return Err(bad(&format!("{name} was sent twice")));
            }
        }
        Ok(said)
    }

    /// RFC 9112, section 6.3. A server behind another that reads these differently would find its
    /// requests elsewhere than that one (request smuggling), so nothing is guessed.
    fn framing(&self, version: Version) -> Result<Framing, Violation> {
        if version == Version::Http11 && !self.host {
            return Err(bad("Host is missing: HTTP/1.1 wants one, if an empty one"));
        }
        match (self.length, self.encoding) {
            (Some(_), Some(_)) => Err(bad("Content-Length and Transfer-Encoding were both sent")),
            (None, Some(_)) if version == Version::Old => {
                Err(bad("HTTP/1.0 has no Transfer-Encoding"))
            }
            (None, Some(encoding)) if is(encoding, "chunked") => Ok(Framing::Chunked),
            (None, Some(_)) => {
                let reason = "expected chunked as the only Transfer-Encoding";
                Err(violation(Kind::Unsupported, reason))
            }
            (Some(length), None) => number(length).map(Framing::Length).ok_or_else(|| {
                let length = length.escape_ascii();
                bad(&format!("expected digits as Content-Length, got {length}"))
            }),
            (None, None) => Ok(Framing::Length(0)),
        }
    }

    fn expects_continue(&self) -> Result<bool, Violation> {
        match self.expect {
            None => Ok(false),
            Some(value) if is(value, "100-continue") => Ok(true),
            Some(_) => {
                let reason = "expected 100-continue as the only expectation";
                Err(violation(Kind::Expectation, reason))
            }
        }
    }
}

fn is(value: &[u8], word: &str) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(word.as_bytes())
}

/// Digits alone: `+5`, `5,5` and an empty one are read differently by others.
fn number(digits: &[u8]) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}
