use super::super::{ReplyHead, Wire};
use super::*;

const MOST: usize = 1 << 20;

fn lines(delimiter: Delimiter, errors: Errors) -> Wire {
    Wire::Lines(Lines::new(delimiter, errors))
}

fn request(body: std::ops::Range<usize>) -> Decoded {
    let used = body.end + 1;
    Decoded::Request { body, used }
}

/// What goes out for a reply of these pieces.
fn say(wire: &mut Wire, pieces: &[&str]) -> Result<String, Unspeakable> {
    let mut out = Vec::new();
    wire.head(ReplyHead::default(), None, &mut out)?;
    for piece in pieces {
        let length = wire.piece(piece.as_bytes(), &mut out)?;
        out.extend_from_slice(&piece.as_bytes()[..length]);
    }
    wire.tail(&mut out);
    Ok(String::from_utf8(out).unwrap())
}

fn refuse(wire: &mut Wire, kind: Kind, reason: &str) -> String {
    let mut out = Vec::new();
    wire.refusal(Refusal { kind, reason }, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_line_ends_at_its_delimiter_wherever_the_bytes_were_cut() {
    for (delimiter, text) in
        [(Delimiter::Newline, b"hello\nrest\n"), (Delimiter::Nul, b"hello\0rest\0")]
    {
        for cut in 0..6 {
            let mut wire = lines(delimiter, Errors::Text);
            assert_eq!(wire.decode(&text[..cut], Seen::Dry, MOST), Ok(Decoded::More));
            assert_eq!(wire.decode(text, Seen::More, MOST), Ok(request(0..5)));
            assert_eq!(wire.decode(&text[6..], Seen::Dry, MOST), Ok(request(0..4)));
            assert_eq!(wire.decode(b"", Seen::Dry, MOST), Ok(Decoded::More));
            assert_eq!(wire.decode(b"", Seen::End, MOST), Ok(Decoded::Over));
        }
    }
}

#[test]
fn with_nul_a_newline_is_part_of_the_message() {
    assert_eq!(
        lines(Delimiter::Nul, Errors::Text).decode(b"a\nb\0", Seen::Dry, MOST),
        Ok(request(0..3))
    );
}

#[test]
fn an_empty_line_is_a_request() {
    assert_eq!(
        lines(Delimiter::Newline, Errors::Text).decode(b"\n", Seen::Dry, MOST),
        Ok(request(0..0))
    );
}

#[test]
fn whole_lines_before_a_half_close_are_requests_and_a_part_of_one_is_not() {
    let mut wire = lines(Delimiter::Newline, Errors::Text);
    assert_eq!(wire.decode(b"a\nb\nc", Seen::End, MOST), Ok(request(0..1)));
    assert_eq!(wire.decode(b"b\nc", Seen::End, MOST), Ok(request(0..1)));
    let violation = wire.decode(b"c", Seen::End, MOST).unwrap_err();
    assert_eq!(violation.kind, Kind::Malformed);
    assert_eq!(violation.reason, "expected a newline after 1 bytes, got the end");
    assert_eq!(
        refuse(&mut wire, violation.kind, &violation.reason),
        "ERR expected a newline after 1 bytes, got the end\n"
    );
    assert!(!wire.stays_open());
}

#[test]
fn a_line_that_is_too_long_is_refused_before_its_end_has_come() {
    let violation =
        lines(Delimiter::Newline, Errors::Text).decode(b"12345", Seen::Dry, 4).unwrap_err();
    assert_eq!(violation.kind, Kind::TooLong);
}

#[test]
fn a_reply_has_one_delimiter_whether_the_handler_said_it_or_not() {
    let mut wire = lines(Delimiter::Newline, Errors::Text);
    for (pieces, said) in [
        (&["OK"][..], "OK\n"),
        (&["OK\n"], "OK\n"),
        (&["O", "K", "\n"], "OK\n"),
        (&["O", "", "K\n", ""], "OK\n"),
        (&["\n"], "\n"),
        (&[], "\n"),
        (&[""], "\n"),
    ] {
        assert_eq!(say(&mut wire, pieces).as_deref(), Ok(said), "{pieces:?}");
    }
    let mut wire = lines(Delimiter::Nul, Errors::Text);
    assert_eq!(say(&mut wire, &["a\nb\n"]).as_deref(), Ok("a\nb\n\0"));
}

/// Regression: a second line is read as the answer to the next request.
#[test]
fn a_reply_that_would_be_read_as_two_is_not_said() {
    let mut wire = lines(Delimiter::Newline, Errors::Text);
    for pieces in [&["a\nb"][..], &["a\n\n"], &["a\n", "b"], &["a", "\n", "\n"]] {
        let Unspeakable(reason) = say(&mut wire, pieces).unwrap_err();
        assert!(reason.starts_with("the reply holds a newline before its end"), "{reason}");
        assert_eq!(refuse(&mut wire, Kind::HandlerFailed, &reason), format!("ERR {reason}\n"));
        assert!(wire.stays_open());
        assert_eq!(
            say(&mut wire, &["next"]).as_deref(),
            Ok("next\n"),
            "and the next reply can be said"
        );
    }
    let mut wire = lines(Delimiter::Nul, Errors::Text);
    assert!(say(&mut wire, &["a\0b"]).is_err());
}

#[test]
fn after_a_refusal_the_connection_stays_if_the_next_line_can_be_found() {
    for (kind, stays) in [
        (Kind::HandlerFailed, true),
        (Kind::HandlerLate, true),
        (Kind::Busy, true),
        (Kind::NotAllowed, true),
        (Kind::RequestLate, false),
        (Kind::TooLong, false),
        (Kind::Stopping, false),
    ] {
        let mut wire = lines(Delimiter::Newline, Errors::Text);
        assert_eq!(refuse(&mut wire, kind, "two\nlines"), "ERR two lines\n");
        assert_eq!(wire.stays_open(), stays, "{kind:?}");
    }
}

#[test]
fn the_last_reply_ends_the_connection() {
    let mut wire = lines(Delimiter::Newline, Errors::Text);
    wire.last();
    assert_eq!(say(&mut wire, &["bye"]).as_deref(), Ok("bye\n"));
    assert!(!wire.stays_open());
}

#[test]
fn an_error_of_json_rpc_has_the_id_of_its_request() {
    for (line, id) in [
        (r#"{"jsonrpc":"2.0","method":"a","id":7}"#, "7"),
        (r#"{"id":"x\"y","method":"a"}"#, r#""x\"y""#),
        (r#" { "method" : "a" , "params" : {"id":1} , "id" : 1.0 } "#, "1.0"),
        (r#"{"id":null,"method":"a"}"#, "null"),
        (r#"{"id":1,"id":2,"method":"a"}"#, "2"),
        (r#"{"i\u0064":5,"method":"a"}"#, "5"),
        (r#"{"neither":1}"#, "null"),
        (r#"[{"id":1,"method":"a"}]"#, "null"),
        ("12", "null"),
    ] {
        let mut wire = lines(Delimiter::Newline, Errors::JsonRpc);
        let input = format!("{line}\n");
        assert_eq!(
            wire.decode(input.as_bytes(), Seen::Dry, MOST),
            Ok(request(0..line.len())),
            "{line}"
        );
        let told = refuse(&mut wire, Kind::HandlerLate, "10 s \"late\"");
        let message = r#""message":"10 s \"late\"""#;
        assert_eq!(
            told,
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32000,{message}}}}}\n"
            )
        );
        assert!(wire.stays_open());
    }
}

#[test]
fn what_is_no_json_is_told_so_and_the_next_line_is_read() {
    for line in [&b"{"[..], b"{} {}", b"nul", b"", b"{\"a\":\"\xff\"}", b"{\"a\" 1}"] {
        let mut wire = lines(Delimiter::Newline, Errors::JsonRpc);
        let input = [line, b"\n{}\n"].concat();
        let violation = wire.decode(&input, Seen::Dry, MOST).unwrap_err();
        assert_eq!((violation.kind, violation.used), (Kind::NoJson, line.len() + 1));
        let told = refuse(&mut wire, violation.kind, &violation.reason);
        assert!(
            told.starts_with(
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no JSON: "#
            ),
            "{told}"
        );
        assert!(told.ends_with("}\n"));
        assert!(wire.stays_open());
        assert_eq!(wire.decode(&input[violation.used..], Seen::Dry, MOST), Ok(request(0..2)));
    }
}

/// A notification has no answer: anything said would be taken for the answer to the next call.
#[test]
fn a_notification_that_fails_or_has_an_empty_reply_is_not_answered() {
    let line = b"{\"jsonrpc\":\"2.0\",\"method\":\"log\"}\n";
    let mut wire = lines(Delimiter::Newline, Errors::JsonRpc);
    wire.decode(line, Seen::Dry, MOST).unwrap();
    assert_eq!(refuse(&mut wire, Kind::HandlerFailed, "no"), "");
    wire.decode(line, Seen::Dry, MOST).unwrap();
    assert_eq!(say(&mut wire, &[""]).as_deref(), Ok(""));
    wire.decode(line, Seen::Dry, MOST).unwrap();
    assert_eq!(say(&mut wire, &["heard"]).as_deref(), Ok("heard\n"));
    wire.decode(b"{\"id\":1}\n", Seen::Dry, MOST).unwrap();
    assert_eq!(say(&mut wire, &[""]).as_deref(), Ok("\n"));
}

#[test]
fn json_nested_beyond_reason_is_no_danger() {
    let line = [vec![b'['; 100_000], vec![b']'; 100_000], b"\n".to_vec()].concat();
    let mut wire = lines(Delimiter::Newline, Errors::JsonRpc);
    let _ = wire.decode(&line, Seen::Dry, MOST);
}
