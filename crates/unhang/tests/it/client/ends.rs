//! Where a reply ends, against servers that never close: each is answered at once, or told what its bytes
//! look like.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use unhang::{Client, Error, ErrorKind, LengthPrefix, Phase, ReplyEnds, Whose};

use super::{SHORT, call_to};

/// Calls a server that writes this and keeps the connection open.
fn call_open(reply: &'static [u8], ends: ReplyEnds, deadline: Duration) -> Result<Vec<u8>, Error> {
    let behaviour = move |stream: &mut UnixStream| stream.write_all(reply).unwrap();
    call_to(behaviour, |client| client.reply_ends(ends).deadline(deadline), b"hello")
}

#[test]
fn a_reply_ends_where_the_caller_says() {
    let line_pair = |reply: &[u8]| {
        let second = reply.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1);
        second.map(|(at, _)| at + 1)
    };
    for (reply, ends, whole) in [
        (&b"{\"ok\":true}"[..], ReplyEnds::AfterJson, &b"{\"ok\":true}"[..]),
        (b"a;b", ReplyEnds::AtDelimiter(b";".to_vec()), b"a;"),
        (b"\0\0\0\x02OK+", ReplyEnds::AfterLength(LengthPrefix::U32Be), b"OK"),
        // In a frame it is a reply as any other.
        (b"\x09ERR busy\n", ReplyEnds::AfterLength(LengthPrefix::U8), b"ERR busy\n"),
        (b"1\n2\n3\n", ReplyEnds::when(line_pair), b"1\n2\n"),
        (b"no end", ReplyEnds::AfterQuiet(SHORT), b"no end"),
    ] {
        let name = format!("{ends:?}");
        assert_eq!(call_open(reply, ends, super::LONG).unwrap(), whole, "{name}");
    }
}

/// All ways to see the end failed, and each message advised the other.
#[test]
fn a_server_that_does_not_close_is_told_by_the_bytes_that_it_sent() {
    for (reply, ends, advice) in [
        (&b"{\"ok\":true}"[..], ReplyEnds::AtClose, "--reply-ends json"),
        (b"{\"ok\":true}", ReplyEnds::AtNewline, "--reply-ends json"),
        (b"{\"ok\":true}\n", ReplyEnds::AtClose, "--reply-ends newline"),
        (b"OK\n", ReplyEnds::AtDelimiter(b"\0".to_vec()), "--reply-ends newline"),
        (b"\0\0\0\x02OK", ReplyEnds::AtClose, "--reply-ends length=4"),
        (b"OK\0", ReplyEnds::AtNewline, "delimiter=\\0"),
        (b"HTTP/1.1 200 OK\r\n\r\n", ReplyEnds::AtClose, "curl"),
        (b"OK", ReplyEnds::AtClose, "the server must close"),
    ] {
        let error = call_open(reply, ends, SHORT).unwrap_err();
        assert!(error.to_string().contains(advice), "{error}");
        let partial = match error.into_kind() {
            ErrorKind::NotClosed { reply, .. } => reply,
            ErrorKind::Incomplete { partial, .. } => partial,
            kind => panic!("{kind:?}"),
        };
        assert_eq!(partial, reply);
    }
}

#[test]
fn what_cannot_become_json_is_told_at_once() {
    let error = call_open(b"<html>\x1b", ReplyEnds::AfterJson, super::LONG).unwrap_err();
    assert!(error.to_string().contains("expected JSON"), "{error}");
    assert!(error.to_string().contains(r"<html>\u{1b}"), "{error}");
    assert!(matches!(error.kind(), ErrorKind::BrokenReply { .. }), "{error}");
}

#[test]
fn a_length_above_the_limit_is_not_waited_for() {
    let ends = ReplyEnds::AfterLength(LengthPrefix::U64Le);
    let error = call_open(&[0xff; 8], ends, super::LONG).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ReplyTooLarge { .. }), "{error}");
}

/// In Rust alone, the length was part of the reply, and counted towards its largest size.
#[test]
fn a_length_is_not_part_of_the_reply() {
    let behaviour = |stream: &mut UnixStream| stream.write_all(b"\0\x02OK").unwrap();
    let ends = ReplyEnds::AfterLength(LengthPrefix::U16Be);
    let reply = call_to(behaviour, |client| client.reply_ends(ends.clone()).max_reply(2), b"hello");
    assert_eq!(reply.unwrap(), b"OK");
    let error = call_to(behaviour, |client| client.reply_ends(ends).max_reply(1), b"hello");
    assert!(matches!(error.unwrap_err().kind(), ErrorKind::ReplyTooLarge { .. }));
}

#[test]
fn an_error_line_is_a_refusal_however_a_reply_ends() {
    for ends in [
        ReplyEnds::AtNewline,
        ReplyEnds::AfterJson,
        ReplyEnds::AfterLength(LengthPrefix::U32Be),
        ReplyEnds::AtDelimiter(b"\0".to_vec()),
    ] {
        let error = call_open(b"ERR busy\n", ends, super::LONG).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Refused { .. }), "{error}");
    }
}

#[test]
fn half_a_reply_and_the_close_is_a_loss() {
    for (reply, ends) in [
        (&b"{\"ok\":"[..], ReplyEnds::AfterJson),
        (b"\0\0\0\x05OK", ReplyEnds::AfterLength(LengthPrefix::U32Be)),
        (b"OK", ReplyEnds::when(|_| None)),
    ] {
        let behaviour = move |stream: &mut UnixStream| {
            stream.write_all(reply).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        };
        let error = call_to(behaviour, |client| client.reply_ends(ends), b"hello").unwrap_err();
        let kind = error.into_kind();
        assert!(matches!(&kind, ErrorKind::Lost { partial, .. } if partial == reply), "{kind:?}");
    }
}

#[test]
fn an_end_that_cannot_be_found_is_refused_before_anything_is_sent() {
    for ends in [ReplyEnds::AtDelimiter(Vec::new()), ReplyEnds::AfterQuiet(Duration::ZERO)] {
        let client = Client::new("/nobody/listens/here").reply_ends(ends);
        let error = super::block_on(client.call("hello")).unwrap_err();
        assert_eq!((error.phase(), error.whose()), (Phase::Setup, Whose::Caller), "{error}");
        assert!(error.to_string().contains("expected a"), "{error}");
    }
}
