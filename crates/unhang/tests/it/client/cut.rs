//! Regression: the server took a part of the request, answered, and the client called that a success.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use unhang::{Client, ErrorKind, Phase, ReplyEnds};

use super::{SHORT, call_to};

/// Far more than any socket buffer holds.
const LARGE: usize = 6_000_000;

fn take_a_part(stream: &mut UnixStream) {
    stream.read_exact(&mut [0; 1000]).unwrap();
}

/// The reply is kept, and the error says how much the server can have got at most.
#[track_caller]
fn assert_cut(
    behaviour: impl FnOnce(&mut UnixStream) + Send + 'static,
    client: impl FnOnce(Client) -> Client,
) {
    let error = call_to(behaviour, client, &vec![b'x'; LARGE]).unwrap_err();
    assert_eq!(error.phase(), Phase::Send, "{error}");
    let said = error.to_string();
    match error.into_kind() {
        ErrorKind::RequestCut { sent, of: LARGE, reply } => {
            assert!((1000..LARGE).contains(&sent), "{said}");
            assert_eq!(reply, b"OK\n");
            let counts = format!("took {sent} of {LARGE} bytes");
            assert!(said.contains(&counts), "{said}");
        }
        kind => panic!("{kind:?}"),
    }
}

#[test]
fn a_server_that_shuts_its_input_answers_and_closes_has_not_taken_the_request() {
    let behaviour = |stream: &mut UnixStream| {
        take_a_part(stream);
        stream.shutdown(Shutdown::Read).unwrap();
        stream.write_all(b"OK\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    };
    assert_cut(behaviour, |client| client);
}

#[test]
fn so_has_one_that_only_stops_reading() {
    let behaviour = |stream: &mut UnixStream| {
        take_a_part(stream);
        stream.write_all(b"OK\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    };
    assert_cut(behaviour, |client| client);
}

#[test]
fn an_answer_that_ends_otherwise_is_one_to_a_part_as_well() {
    let behaviour = |stream: &mut UnixStream| {
        take_a_part(stream);
        stream.write_all(b"OK\n").unwrap();
    };
    assert_cut(behaviour, |client| client.reply_ends(ReplyEnds::AtNewline));
}

#[test]
fn a_server_that_answers_to_a_part_and_never_closes_is_told_so_at_the_deadline() {
    let behaviour = |stream: &mut UnixStream| {
        take_a_part(stream);
        stream.write_all(b"OK\n").unwrap();
    };
    assert_cut(behaviour, |client| client.deadline(SHORT));
}

/// A server that reads no further often says why, and that is its answer.
#[test]
fn a_server_that_says_why_it_takes_no_more_has_refused() {
    let behaviour = |stream: &mut UnixStream| {
        take_a_part(stream);
        stream.shutdown(Shutdown::Read).unwrap();
        stream.write_all(b"ERR too long\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    };
    let error = call_to(behaviour, |client| client, &vec![b'x'; LARGE]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Refused { reason, .. } if reason == "too long"));
}
