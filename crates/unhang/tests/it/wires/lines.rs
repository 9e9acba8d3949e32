use std::net::Shutdown;

use unhang::{Delimiter, Errors};

use super::*;

fn lines() -> Running {
    serve(|server| server.lines(Delimiter::Newline, Errors::Text))
}

#[test]
fn lines_are_answered_in_order_however_they_come() {
    let server = lines();
    let mut client = connect(&server.path);
    client.write_all(b"a\nb\n\nc").unwrap();
    assert_eq!(read_exact(&mut client, 5), b"a\nb\n\n");
    trickle(&mut client, b"d\nstream e\nf\n");
    assert_eq!(read_exact(&mut client, 14), b"cd\nstream e\nf\n");
}

/// Regression: the end of a reply in pieces was gathered like a whole one, after what it was gathered
/// with had gone out; the connection was lost.
#[test]
fn a_reply_in_pieces_between_others_that_came_together_is_sent_once() {
    let server = lines();
    let mut client = connect(&server.path);
    for _ in 0..100 {
        client.write_all(b"a\nb\nstream c\nd\ne\n").unwrap();
        assert_eq!(read_exact(&mut client, 17), b"a\nb\nstream c\nd\ne\n");
    }
}

#[test]
fn after_a_handler_that_was_late_or_failed_the_next_line_gets_its_own_answer() {
    let server = lines();
    let mut client = connect(&server.path);
    client.write_all(b"late 1\na\npanic\nb\nfault\nc\nlines\nd\n").unwrap();
    for expected in [
        &format!("ERR {TOLD_LATE}\n"),
        "a\n",
        "ERR the handler panicked\n",
        "b\n",
        "ERR it was asked to\n",
        "c\n",
    ] {
        assert_eq!(read_line(&mut client), expected);
    }
    assert!(read_line(&mut client).starts_with("ERR the reply holds a newline before its end"));
    assert_eq!(read_line(&mut client), "d\n");
}

/// Regression: that earlier replies had been written counted as the beginning of its own, and the connection
/// was cut.
#[test]
fn a_streamed_reply_that_fails_before_its_first_piece_is_refused_behind_other_replies() {
    let server = lines();
    let mut client = connect(&server.path);
    client.write_all(b"a\nnothing\nb\n").unwrap();
    assert_eq!(read_line(&mut client), "a\n");
    assert_eq!(read_line(&mut client), "ERR nothing comes\n");
    assert_eq!(read_line(&mut client), "b\n");
}

#[test]
fn a_client_that_half_closes_gets_all_answers_and_a_part_of_a_line_is_refused() {
    let server = lines();
    let mut client = connect(&server.path);
    client.write_all(b"a\nb\nc").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let expected = "a\nb\nERR expected a newline after 1 bytes, got the end\n";
    assert_eq!(read_all(&mut client), expected);
}

#[test]
fn a_line_that_is_too_long_is_refused_while_it_comes() {
    let mut limits = Limits::default();
    limits.max_request = 1000;
    let server = Running::start(
        |server| server.lines(Delimiter::Newline, Errors::Text).limits(limits),
        answer,
    );
    let mut client = connect(&server.path);
    client.write_all(&vec![b'x'; 200_000]).unwrap();
    assert_eq!(read_all(&mut client), "ERR the request is longer than 1000 bytes\n");
}

/// Half a line for ever is a request that is late; nothing at all is an idle connection, which gets no word.
#[test]
fn half_a_line_is_told_at_its_deadline_and_an_idle_client_gets_no_word() {
    let mut limits = Limits::default();
    limits.read = Duration::from_millis(200);
    limits.idle = Some(Duration::from_millis(600));
    let server = Running::start(
        |server| server.lines(Delimiter::Newline, Errors::Text).limits(limits),
        answer,
    );
    let mut half = connect(&server.path);
    half.write_all(b"a\nhal").unwrap();
    let told = read_all(&mut half);
    assert!(told.starts_with("a\nERR no whole request within 200ms"), "{told}");
    let mut idle = connect(&server.path);
    idle.write_all(b"a\n").unwrap();
    assert_eq!(read_all(&mut idle), "a\n");
}
