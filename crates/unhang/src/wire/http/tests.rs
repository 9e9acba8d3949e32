use super::super::Wire;
use super::*;

const MOST: usize = 1 << 20;

fn wire() -> Wire {
    Wire::Http(Http::default())
}

/// A request as it was read: method, target, body, and whether another may follow.
type Read = (String, String, String, bool);

/// Reads all requests of the input, each answered by nothing, until the end or a violation.
fn read_all(input: &[u8], cuts: &[usize]) -> (Vec<Read>, Option<Violation>) {
    let mut wire = wire();
    let (mut read, mut begin) = (Vec::new(), 0);
    for end in cuts.iter().copied().chain([input.len(), input.len()]) {
        let seen = if end == input.len() { Seen::End } else { Seen::Dry };
        loop {
            match wire.decode(&input[begin..end], seen, MOST) {
                Ok(Decoded::Request { body, used }) => {
                    let mut body = input[begin..end][body].to_vec();
                    let parts = wire.parts(&mut body).unwrap();
                    let body = String::from_utf8_lossy(&body).into_owned();
                    let stays = wire.stays_open();
                    read.push((parts.method().into(), parts.target().into(), body, stays));
                    begin += used;
                    wire.head(ReplyHead::default(), Some(0), &mut Vec::new()).unwrap();
                    wire.tail(&mut Vec::new());
                    if !stays {
                        return (read, None);
                    }
                }
                Ok(Decoded::More) => break,
                Ok(Decoded::Over) => return (read, None),
                Ok(settle) => panic!("{settle:?}"),
                Err(violation) => {
                    wire.refused(violation.kind);
                    assert!(!wire.stays_open());
                    return (read, Some(violation));
                }
            }
        }
    }
    panic!("the end was seen, and the wire reads on");
}

/// The same, cut at every position into two, and into single bytes.
fn read(input: &str) -> (Vec<Read>, Option<Violation>) {
    let input = input.as_bytes();
    let whole = read_all(input, &[]);
    let differs = |cuts: &[usize]| {
        let cut = read_all(input, cuts);
        // Where input that is cut is refused, it may be so before all of it has come.
        cut.0 != whole.0 || cut.1.as_ref().map(|v| v.kind) != whole.1.as_ref().map(|v| v.kind)
    };
    for cut in 0..input.len() {
        assert!(!differs(&[cut]), "cut at {cut}: {:?}", input.escape_ascii().to_string());
    }
    let bytes: Vec<_> = (0..input.len()).collect();
    assert!(!differs(&bytes), "byte by byte: {:?}", input.escape_ascii().to_string());
    whole
}

fn requests(input: &str) -> Vec<Read> {
    let (requests, violation) = read(input);
    assert_eq!(violation, None, "{input:?}");
    requests
}

fn refused(input: &str) -> (Kind, String) {
    let (requests, violation) = read(input);
    assert_eq!(requests, [], "{input:?}");
    let violation = violation.unwrap_or_else(|| panic!("taken: {input:?}"));
    (violation.kind, violation.reason)
}

fn one(method: &str, target: &str, body: &str, stays: bool) -> Read {
    (method.into(), target.into(), body.into(), stays)
}

#[test]
fn requests_follow_one_another_with_bodies_of_either_kind() {
    let input = "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n\
                 POST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello\
                 PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n000\r\n\r\n\
                 DELETE /d HTTP/1.1\r\nHost:\r\nConnection: x, Close\r\n\r\n\
                 GET /never HTTP/1.1\r\n";
    let read = requests(input);
    assert_eq!(
        read,
        [
            one("GET", "/a?b=c", "", true),
            one("POST", "/b", "hello", true),
            one("PUT", "/c", "abc0123456789", true),
            one("DELETE", "/d", "", false),
        ]
    );
}

#[test]
fn empty_lines_before_a_request_are_none() {
    assert_eq!(
        requests("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n"),
        [one("GET", "/", "", true)]
    );
    assert_eq!(requests("\r\n"), []);
    assert_eq!(requests(""), []);
    let mut wire = wire();
    for (input, begun) in [("", false), ("\r\n", false), ("\r\nG", true)] {
        assert_eq!(wire.decode(input.as_bytes(), Seen::Dry, MOST), Ok(Decoded::More));
        assert_eq!(wire.in_request(input.as_bytes()), begun, "{input:?}");
    }
}

#[test]
fn a_request_of_http_1_0_is_the_last() {
    let input = "POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(requests(input), [one("POST", "/", "hi", false)]);
}

#[test]
fn targets_of_every_form_come_as_they_are() {
    for (method, target) in [
        ("GET", "/a%20b?c[]={|}://"),
        ("OPTIONS", "*"),
        ("GET", "http://x:80/a"),
        ("GET", "HTTPS://x"),
    ] {
        let input = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(requests(&input), [one(method, target, "", true)]);
    }
}

#[test]
fn the_headers_are_told() {
    let input =
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A:  1 \r\nx-a: \xc3\xa9\xff\r\nUpgrade: h2c\r\n\r\n";
    let mut wire = wire();
    let used = input.len();
    let request = Decoded::Request { body: used..used, used };
    assert_eq!(wire.decode(input, Seen::Dry, MOST), Ok(request));
    let parts = wire.parts(&mut Vec::new()).unwrap();
    let headers: Vec<_> = parts.headers().collect();
    let expected: [(&str, &[u8]); 4] =
        [("Host", b"x"), ("X-A", b"1"), ("x-a", b"\xc3\xa9\xff"), ("Upgrade", b"h2c")];
    assert_eq!(headers, expected);
    assert_eq!(wire.parts(&mut Vec::new()), None, "they are told once");
}

/// Two readers would see different requests: RFC 9112, section 11.2.
#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let post =
        |headers: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}");
    for (headers, body) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
        ("Content-Length: +5\r\n", "hello"),
        ("Content-Length: -5\r\n", "hello"),
        ("Content-Length: 5, 5\r\n", "hello"),
        ("Content-Length: 0x5\r\n", "hello"),
        ("Content-Length: 5 5\r\n", "hello"),
        ("Content-Length:\r\n", "hello"),
        ("Content-Length: 18446744073709551616\r\n", ""),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "+1\r\na\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0x1\r\na\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1 \r\na\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", " 1\r\na\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1\na\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1\r\na\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1\r\nab\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1;a\rb\r\na\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "00000000000000001\r\na\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\r\nno trailer\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\r\nA: b\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\r\n folded: b\r\n\r\n"),
        ("X: a\r\n b\r\n", ""),
        ("X: a\r\n\tb\r\n", ""),
        (" X: a\r\n", ""),
        ("X : a\r\n", ""),
        ("X\r\n", ""),
        (": a\r\n", ""),
        ("X: a\n", ""),
        ("X: a\rb\r\n", ""),
        ("X: a\0b\r\n", ""),
        ("\n", ""),
        ("Host: x\r\n", ""),
        ("Host: y\r\n", ""),
    ] {
        let (kind, reason) = refused(&post(headers, body));
        assert_eq!(kind, Kind::Malformed, "{headers:?} {body:?}: {reason}");
    }
    for first in [
        "GET  / HTTP/1.1\r\n",
        "GET /  HTTP/1.1\r\n",
        " GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1 \r\n",
        "GET / HTTP/1.1\n",
        "GET /a b HTTP/1.1\r\n",
        "GET /\r\n",
        "GET\r\n",
        "G\u{e9}T / HTTP/1.1\r\n",
        "GET /\u{e9} HTTP/1.1\r\n",
        "GET /a#b HTTP/1.1\r\n",
        "GET a HTTP/1.1\r\n",
        "GET * HTTP/1.1\r\n",
        "GET http:// HTTP/1.1\r\n",
        "GET http:///a HTTP/1.1\r\n",
        "GET http://x?a HTTP/1.1\r\n",
        "GET http://x:y/ HTTP/1.1\r\n",
        "GET http://a@x/ HTTP/1.1\r\n",
        "GET /a<b HTTP/1.1\r\n",
        "GET /a\"b HTTP/1.1\r\n",
        "GET /a>b HTTP/1.1\r\n",
        "GET /a`b HTTP/1.1\r\n",
        "GET ftp://x/ HTTP/1.1\r\n",
        "\nGET / HTTP/1.1\r\n",
        "\x16\x03\x01",
        "\0",
    ] {
        let (kind, reason) = refused(&format!("{first}Host: x\r\n\r\n"));
        assert_eq!(kind, Kind::Malformed, "{first:?}: {reason}");
    }
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n").0, Kind::Malformed, "no Host");
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(refused(old).0, Kind::Malformed, "chunks in HTTP/1.0");
}

#[test]
fn what_is_not_spoken_is_told_with_a_status_of_its_own() {
    for (input, kind) in [
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", Kind::Unsupported),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Kind::Unsupported,
        ),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", Kind::Unsupported),
        ("POST / HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\n\r\n", Kind::Expectation),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Kind::Version),
        ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", Kind::Version),
    ] {
        assert_eq!(refused(input).0, kind, "{input:?}");
    }
}

#[test]
fn a_head_of_64_kib_and_100_headers_is_taken_and_more_is_refused() {
    let head = |length: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: x\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(length - frame))
    };
    let taken = |input: &str| {
        let all = read_all(input.as_bytes(), &[]);
        let cuts = read_all(input.as_bytes(), &[100, 60_000, input.len() - 1]);
        assert_eq!(
            (all.0.len(), &all.1.as_ref().map(|v| v.kind)),
            (cuts.0.len(), &cuts.1.map(|v| v.kind))
        );
        all.1.map(|violation| violation.kind)
    };
    assert_eq!(taken(&head(64 * 1024)), None);
    assert_eq!(taken(&head(64 * 1024 + 1)), Some(Kind::HeadTooLong));
    assert_eq!(taken(&head(1024 * 1024)), Some(Kind::HeadTooLong));
    assert_eq!(taken(&"\r\n".repeat(40_000)), Some(Kind::HeadTooLong));
    let headers =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
    assert_eq!(read(&headers(100)).1, None);
    assert_eq!(refused(&headers(101)).0, Kind::HeadTooLong);
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_comes() {
    for (input, most) in [
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 4),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n", 1 << 40),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", 4),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n1\r\n", 4),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", 4),
    ] {
        let violation = wire().decode(input.as_bytes(), Seen::Dry, most).unwrap_err();
        assert_eq!(violation.kind, Kind::TooLong, "{input:?}");
    }
    let fits =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n";
    assert!(matches!(wire().decode(fits.as_bytes(), Seen::Dry, 4), Ok(Decoded::Request { .. })));
    let most = usize::MAX;
    let all =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n";
    assert_eq!(wire().decode(all.as_bytes(), Seen::Dry, most), Ok(Decoded::More), "no overflow");
}

#[test]
fn chunks_that_are_all_framing_are_refused() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = |count: usize| format!("{head}{}", "000000000001\r\na\r\n".repeat(count));
    let kind = |input: &str, most| {
        wire().decode(input.as_bytes(), Seen::Dry, most).map_err(|violation| violation.kind)
    };
    assert_eq!(kind(&chunks(1000), 8192), Ok(Decoded::More));
    assert_eq!(kind(&chunks(8000), 8192), Err(Kind::TooLong));
    let extended = format!("{head}{}", format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(20));
    assert_eq!(kind(&extended, MOST), Err(Kind::HeadTooLong));
    let trailers = format!("{head}0\r\n{}", "A: b\r\n".repeat(5000));
    assert_eq!(kind(&trailers, MOST), Err(Kind::HeadTooLong));
    assert_eq!(kind(&format!("{head}{}", "0".repeat(20_000)), MOST), Err(Kind::HeadTooLong));
}

#[test]
fn trailers_and_extensions_are_dropped() {
    let input = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2;a=\"b\"\r\nhi\r\n0;c\r\nA: b\r\nContent-Length: 9\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(requests(input), [one("POST", "/", "hi", true), one("GET", "/", "", true)]);
}

#[test]
fn a_request_that_ends_in_its_middle_is_refused() {
    for input in [
        "G",
        "GET / HTTP/1.1\r\nHost: x\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
    ] {
        let (kind, reason) = refused(input);
        assert_eq!(kind, Kind::Malformed);
        assert!(reason.starts_with("the request was cut: expected "), "{reason}");
    }
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_once_and_only_if_its_body_has_to_come() {
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\nhi";
    let body = head.len() - 2;
    let mut waiting = wire();
    assert_eq!(waiting.interim(), None);
    assert_eq!(waiting.decode(&head[..body], Seen::Dry, MOST), Ok(Decoded::More));
    assert_eq!(waiting.interim(), Some(&b"HTTP/1.1 100 Continue\r\n\r\n"[..]));
    assert_eq!(waiting.interim(), None);
    assert!(matches!(waiting.decode(head, Seen::Dry, MOST), Ok(Decoded::Request { .. })));
    for begun in [&head[..=body], head] {
        let mut wire = wire();
        wire.decode(begun, Seen::Dry, MOST).unwrap();
        assert_eq!(wire.interim(), None);
    }
    let refused = wire().decode(&head[..body], Seen::Dry, 1).unwrap_err();
    assert_eq!(refused.kind, Kind::TooLong, "refused in place of told to go on");
    let old = String::from_utf8_lossy(&head[..body]).replace("1.1", "1.0");
    let mut wire = wire();
    assert_eq!(wire.decode(old.as_bytes(), Seen::Dry, MOST), Ok(Decoded::More));
    assert_eq!(wire.interim(), None, "HTTP/1.0 has no interim replies");
}

/// What goes out for a reply to such a request.
fn say(request: &str, head: ReplyHead<'_>, pieces: &[&str], whole: bool) -> (String, bool) {
    let mut wire = wire();
    if !request.is_empty() {
        let decoded = wire.decode(request.as_bytes(), Seen::Dry, MOST);
        assert!(matches!(decoded, Ok(Decoded::Request { .. })), "{decoded:?}");
    }
    let mut out = Vec::new();
    let length = whole.then(|| pieces.iter().map(|piece| piece.len()).sum());
    wire.head(head, length, &mut out).unwrap();
    for piece in pieces {
        let length = wire.piece(piece.as_bytes(), &mut out).unwrap();
        out.extend_from_slice(&piece.as_bytes()[..length]);
    }
    wire.tail(&mut out);
    (String::from_utf8(out).unwrap(), wire.stays_open())
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn a_whole_reply_has_its_length() {
    let said = |request, pieces: &[&str]| say(request, ReplyHead::default(), pieces, true);
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n";
    assert_eq!(said(GET, &["hi"]), (format!("{ok}\r\nhi"), true));
    assert_eq!(said(GET, &[]), ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(), true));
    assert_eq!(said(HEAD, &["hi"]), (format!("{ok}\r\n"), true));
    assert_eq!(said(OLD, &["hi"]), (format!("{ok}Connection: close\r\n\r\nhi"), false));
    assert_eq!(said(LAST, &["hi"]), (format!("{ok}Connection: close\r\n\r\nhi"), false));
}

#[test]
fn a_reply_in_pieces_is_chunked() {
    let said = |request, pieces: &[&str]| say(request, ReplyHead::default(), pieces, false);
    let ok = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long = "x".repeat(17);
    let chunks = format!("{ok}2\r\nhi\r\n11\r\n{long}\r\n0\r\n\r\n");
    assert_eq!(said(GET, &["hi", "", &long]), (chunks, true));
    assert_eq!(said(GET, &[]), (format!("{ok}0\r\n\r\n"), true));
    assert_eq!(said(HEAD, &["hi"]), (ok.into(), true));
    let old = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhithere";
    assert_eq!(said(OLD, &["hi", "there"]), (old.into(), false), "HTTP/1.0 knows no chunks");
}

#[test]
fn a_status_and_headers_are_said_and_some_have_no_body() {
    let headers =
        [("Content-Type".into(), "text/html".into()), ("X-É".replace('É', "e").into(), "é".into())];
    let head = |status| ReplyHead { status, headers: &headers };
    let expected = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nX-e: é\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(say(GET, head(404), &["hi"], true), (expected.into(), true));
    for status in [204, 304] {
        for whole in [true, false] {
            let (said, stays) = say(GET, ReplyHead { status, headers: &[] }, &["hi"], whole);
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
            assert_eq!(said.lines().count(), 2, "no length, no body: {said}");
            assert!(stays);
        }
    }
    let close = [("connection".into(), "Close".into())];
    let (said, stays) = say(GET, ReplyHead { status: 299, headers: &close }, &[], true);
    assert_eq!(said, "HTTP/1.1 299 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(!stays);
}

/// A line break in a header's value would let the handler's input write the rest of the reply.
#[test]
fn a_head_that_cannot_be_said_is_not_said() {
    for (name, value, status) in [
        ("X", "a\r\nSet-Cookie: b", 200),
        ("X", "a\n", 200),
        ("X", "a\0", 200),
        ("X\r\n", "a", 200),
        ("X Y", "a", 200),
        ("X:", "a", 200),
        ("É", "a", 200),
        ("", "a", 200),
        ("Content-Length", "5", 200),
        ("transfer-encoding", "chunked", 200),
        ("Connection", "keep-alive", 200),
        ("Upgrade", "h2c", 200),
        ("X", "a", 0),
        ("X", "a", 101),
        ("X", "a", 600),
    ] {
        let mut wire = wire();
        wire.decode(GET.as_bytes(), Seen::Dry, MOST).unwrap();
        let mut out = Vec::new();
        let headers = [(name.to_owned().into(), value.to_owned().into())];
        let head = ReplyHead { status, headers: &headers };
        let Unspeakable(reason) = wire.head(head, Some(0), &mut out).unwrap_err();
        assert!(!reason.contains(char::is_control), "{reason:?}");
        assert_eq!(out, b"", "{name:?}");
        wire.refusal(Refusal { kind: Kind::HandlerFailed, reason: &reason }, &mut out);
        assert!(out.starts_with(b"HTTP/1.1 500 Internal Server Error\r\n"));
        assert!(wire.stays_open());
    }
}

#[test]
fn a_refusal_says_why_and_whether_the_connection_stays() {
    for (kind, status, stays) in [
        (Kind::Malformed, "400 Bad Request", false),
        (Kind::NotAllowed, "403 Forbidden", true),
        (Kind::RequestLate, "408 Request Timeout", false),
        (Kind::TooLong, "413 Content Too Large", false),
        (Kind::Expectation, "417 Expectation Failed", false),
        (Kind::HeadTooLong, "431 Request Header Fields Too Large", false),
        (Kind::HandlerFailed, "500 Internal Server Error", true),
        (Kind::Unsupported, "501 Not Implemented", false),
        (Kind::Busy, "503 Service Unavailable", true),
        (Kind::Stopping, "503 Service Unavailable", false),
        (Kind::HandlerLate, "504 Gateway Timeout", true),
        (Kind::Version, "505 HTTP Version Not Supported", false),
    ] {
        for request in ["", GET, HEAD] {
            let mut wire = wire();
            if !request.is_empty() {
                wire.decode(request.as_bytes(), Seen::Dry, MOST).unwrap();
            }
            let mut out = Vec::new();
            wire.refusal(Refusal { kind, reason: "be\r\ncause" }, &mut out);
            let retry = if status.starts_with("503") { "Retry-After: 1\r\n" } else { "" };
            let close = if stays { "" } else { "Connection: close\r\n" };
            let body = if request == HEAD { "" } else { "be  cause\n" };
            let expected = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n{retry}\
                 Content-Length: 10\r\n{close}\r\n{body}"
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert_eq!(wire.stays_open(), stays, "{kind:?}");
        }
    }
}

#[test]
fn the_last_reply_says_that_it_is_the_last() {
    let mut wire = wire();
    wire.decode(GET.as_bytes(), Seen::Dry, MOST).unwrap();
    wire.last();
    let mut out = Vec::new();
    wire.head(ReplyHead::default(), Some(0), &mut out).unwrap();
    assert!(out.ends_with(b"Content-Length: 0\r\nConnection: close\r\n\r\n"));
    assert!(!wire.stays_open());
}

/// Regression: a reply of its own (`refused`, then `head`) after a violation ends the connection, too.
#[test]
fn a_refusal_in_the_service_s_own_words_says_that_it_is_the_last() {
    let mut wire = wire();
    let violation = wire.decode(b"\0", Seen::Dry, MOST).unwrap_err();
    wire.refused(violation.kind);
    let mut out = Vec::new();
    wire.head(ReplyHead { status: 400, headers: &[] }, Some(0), &mut out).unwrap();
    assert_eq!(out, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/// A byte at a time must not cost a scan each: 1 MiB so would take minutes.
#[test]
fn the_work_is_linear_however_the_bytes_were_cut() {
    let length = 1 << 20;
    let chunks = "1\r\na\r\n".repeat(100_000);
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    );
    let counted = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{}",
        "x".repeat(length)
    );
    for input in [chunked, counted] {
        let mut wire = wire();
        let ends = (1..input.len()).find(|end| {
            let decoded = wire.decode(&input.as_bytes()[..*end], Seen::Dry, MOST);
            assert_eq!(decoded, Ok(Decoded::More));
            false
        });
        assert_eq!(ends, None);
        let decoded = wire.decode(input.as_bytes(), Seen::Dry, MOST);
        assert!(matches!(decoded, Ok(Decoded::Request { used, .. }) if used == input.len()));
    }
}
