//! Clients that leave: after a probe, after their request, and before anybody has seen them.

use super::{assert_ended, assert_serves, serve};
use crate::support::Place;
use crate::support::peer::Peer;

const GONE: Option<&str> = Some("the client left while its reply was written");

#[test]
fn a_request_whose_client_has_left_is_carried_out_and_the_log_says_so() {
    let place = Place::new();
    let server = serve(&place, &["--until", "half-close"]);
    // Its close is what ends the request, so it is gone for sure when there is a reply.
    Peer::connect(&place.socket).write(b"hello");
    assert_ended(&server, "client_gone", GONE);
    drop(Peer::connect(&place.socket));
    assert_ended(&server, "no_request", None);
    let mut next = Peer::connect(&place.socket);
    next.half_close();
    assert!(super::is_answer(&next.read_to_end()));
}

#[test]
fn a_client_that_left_before_the_accept_costs_nobody_anything() {
    let place = Place::new();
    let server = serve(&place, &[]);
    server.freeze();
    drop(Peer::connect(&place.socket));
    Peer::connect(&place.socket).write(b"hello");
    let mut waiting = Peer::connect(&place.socket);
    waiting.write(b"hello");
    server.thaw();
    assert!(super::is_answer(&waiting.read_to_end()));
    let mut ends = [(); 3].map(|()| super::next_exchange(&server)["ended"].to_string());
    ends.sort();
    assert_eq!(ends, ["\"answered\"", "\"client_gone\"", "\"no_request\""]);
    assert_serves(&server, &place);
}
