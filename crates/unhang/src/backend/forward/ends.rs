//! Where the reply of a server that does not close ends: told from its bytes alone. Pure bytes, piece
//! by piece: a reply may be larger than memory.

mod http;

use std::time::Duration;

use memchr::memchr;

use http::Http;

use crate::json::{Json, JsonEnd};

/// Where a reply ends, besides where the server closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyEnds {
    /// Where the server is seen to be through with it, see [`Watch`](super::Watch); without one, nowhere
    /// else. A request in HTTP/1.x is answered in it, so its reply ends as [`Http`](Self::Http) says.
    /// None of this guesses, so it is the default.
    #[default]
    Auto,
    /// Nowhere else.
    Close,
    /// After the first newline.
    Newline,
    /// After one JSON value.
    Json,
    /// After one HTTP/1.x response.
    Http,
    /// When nothing came for so long after the last byte. This is a guess, and never the default: a server
    /// that pauses for longer is cut. For a while afterwards we hear whether more comes, and say so.
    Quiet(Duration),
}

/// What was seen of one reply.
#[derive(Debug)]
pub(super) enum Scan {
    Nothing,
    Newline,
    Json(JsonEnd),
    Http(Http),
}

/// Whether the reply ends in a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// After so many bytes of this piece.
    End(usize),
    More,
    /// These bytes are not of the kind that was promised.
    Broken(&'static str),
}

impl Scan {
    /// For the reply to this request.
    pub(super) fn new(ends: ReplyEnds, request: &[u8]) -> Self {
        match ends {
            // A request in HTTP/1.x is answered in it; its first bytes show whether it is one.
            ReplyEnds::Auto if is_http(request) => {
                Self::Http(Http::new(request.starts_with(b"HEAD ")))
            }
            ReplyEnds::Auto | ReplyEnds::Close | ReplyEnds::Quiet(_) => Self::Nothing,
            ReplyEnds::Newline => Self::Newline,
            ReplyEnds::Json => Self::Json(JsonEnd::default()),
            ReplyEnds::Http => Self::Http(Http::new(request.starts_with(b"HEAD "))),
        }
    }

    /// Takes the next bytes of the reply.
    pub(super) fn take(&mut self, piece: &[u8]) -> Found {
        match self {
            Self::Nothing => Found::More,
            Self::Newline => memchr(b'\n', piece).map_or(Found::More, |at| Found::End(at + 1)),
            Self::Json(json) => match json.take(piece) {
                Json::End(at) => Found::End(at),
                Json::More => Found::More,
                Json::Broken(why) => Found::Broken(why),
            },
            Self::Http(http) => http.take(piece),
        }
    }

    /// Whether the close of the server is a whole reply's end.
    pub(super) fn may_close(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Newline => false,
            Self::Json(json) => json.is_whole_at_close(),
            Self::Http(http) => http.may_close(),
        }
    }
}

fn is_http(request: &[u8]) -> bool {
    let line = request.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
}

/// The rule that fits a reply, for an advice; none if no rule does.
pub(super) fn fitting(reply: &[u8], request: &[u8]) -> Option<&'static str> {
    let fits = |ends| Scan::new(ends, request).take(reply) == Found::End(reply.len());
    let bare = reply.trim_ascii_end();
    let json = Scan::new(ReplyEnds::Json, request).take(bare) == Found::End(bare.len());
    match () {
        () if reply.starts_with(b"HTTP/1.") && fits(ReplyEnds::Http) => Some("http"),
        () if json && matches!(bare.first(), Some(b'{' | b'[')) => Some("json"),
        () if fits(ReplyEnds::Newline) => Some("newline"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a reply ends, wherever it is cut in two.
    fn end(ends: ReplyEnds, reply: &[u8]) -> Found {
        let whole = Scan::new(ends, b"").take(reply);
        for cut in 0..=reply.len() {
            let mut scan = Scan::new(ends, b"");
            let found = match scan.take(&reply[..cut]) {
                Found::More => match scan.take(&reply[cut..]) {
                    Found::End(at) => Found::End(cut + at),
                    other => other,
                },
                other => other,
            };
            assert_eq!(found, whole, "cut at {cut} of {}", reply.escape_ascii());
        }
        whole
    }

    #[test]
    fn json_ends_with_its_last_bracket() {
        for (reply, expected) in [
            (&b"{\"a\": [1, \"]}\\\"\"]} more"[..], Found::End(18)),
            (b" [] ", Found::End(3)),
            (b"\"a\\\\\"x", Found::End(5)),
            (b"{\"a\":1", Found::More),
            (b"12 ", Found::End(2)),
        ] {
            assert_eq!(end(ReplyEnds::Json, reply), expected, "{}", reply.escape_ascii());
        }
        // A bracket that closes another one than was opened was taken for its end.
        for broken in [&b"<html>"[..], b"[}", b"{\"a\": [1}"] {
            assert!(matches!(end(ReplyEnds::Json, broken), Found::Broken(_)));
        }
    }

    #[test]
    fn http_ends_by_its_length_its_chunks_or_its_status() {
        for (reply, expected) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokx"[..], Found::End(40)),
            (b"HTTP/1.1 204 No Content\r\n\r\nx", Found::End(27)),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 x\r\n\r\n", Found::End(43)),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx",
                Found::End(59),
            ),
            (b"HTTP/1.1 200 OK\r\n\r\nuntil it closes", Found::More),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nok", Found::More),
        ] {
            assert_eq!(end(ReplyEnds::Http, reply), expected, "{}", reply.escape_ascii());
        }
        assert!(matches!(end(ReplyEnds::Http, b"hello\n"), Found::Broken(_)));
        let mut head = Scan::new(ReplyEnds::Http, b"HEAD / HTTP/1.1\r\n\r\n");
        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n";
        assert_eq!(head.take(reply), Found::End(reply.len()));
    }

    #[test]
    fn a_close_in_the_middle_is_no_end() {
        let may_close = |ends, reply: &[u8]| {
            let mut scan = Scan::new(ends, b"");
            scan.take(reply);
            scan.may_close()
        };
        assert!(!may_close(ReplyEnds::Newline, b"half a li"));
        assert!(!may_close(ReplyEnds::Json, b"{\"a\""));
        assert!(may_close(ReplyEnds::Json, b"12"));
        assert!(!may_close(ReplyEnds::Http, b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nok"));
        assert!(may_close(ReplyEnds::Http, b"HTTP/1.0 200 OK\r\n\r\nok"));
        assert!(may_close(ReplyEnds::Auto, b"anything"));
    }

    #[test]
    fn the_rule_that_fits_is_named() {
        assert_eq!(fitting(b"ok\n", b"x"), Some("newline"));
        assert_eq!(fitting(b"{\"a\":\n1}\n", b"x"), Some("json"));
        assert_eq!(fitting(b"HTTP/1.1 204 x\r\n\r\n", b"x"), Some("http"));
        assert_eq!(fitting(b"two\nlines\n", b"x"), None);
        assert_eq!(fitting(b"ok", b"x"), None);
    }
}
