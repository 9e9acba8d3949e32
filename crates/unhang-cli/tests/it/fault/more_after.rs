//! A client that goes on sending after the end of its request.

use super::{assert_serves, is_answer, next_exchange, serve};
use crate::support::Place;
use crate::support::peer::Peer;

#[test]
fn what_follows_a_request_costs_it_neither_its_reply_nor_a_clean_end() {
    let place = Place::new();
    let server = serve(&place, &["--until", "newline"]);
    let mut message = b"hello\n".to_vec();
    message.resize(512 * 1024, b'x');
    // Fails the test at a reset.
    assert!(is_answer(&Peer::ask(&place.socket, &message)));
    let line = next_exchange(&server);
    assert_eq!(line["ended"], "answered", "{line}");
    assert_serves(&server, &place);
}

#[test]
fn a_client_that_writes_after_its_reply_has_it_all_the_same() {
    let place = Place::new();
    let server = serve(&place, &["--until", "newline"]);
    let mut peer = Peer::connect(&place.socket);
    peer.write(b"hello\n");
    assert_eq!(next_exchange(&server)["ended"], "answered");
    let error = peer.try_write(b"and another thing\n").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert!(is_answer(&peer.read_to_end()));
    assert_serves(&server, &place);
}
