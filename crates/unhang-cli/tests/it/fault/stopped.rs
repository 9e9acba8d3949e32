//! The server is stopped in mid-exchange and goes on later, as under a debugger, in a paused
//! container or on a machine that was suspended.

use std::time::Duration;

use super::{assert_ended, assert_serves, is_answer, serve};
use crate::support::Place;
use crate::support::peer::Peer;

#[test]
fn a_request_that_came_whole_meanwhile_is_answered() {
    let place = Place::new();
    let server = serve(&place, &["--until", "newline"]);
    let mut peer = Peer::connect(&place.socket);
    peer.write(b"hel");
    // Answered after it: the other has been accepted, and is waited for.
    assert_serves(&server, &place);
    server.freeze();
    peer.write(b"lo\n");
    server.thaw();
    assert!(is_answer(&peer.read_to_end()));
    assert_ended(&server, "answered", None);
}

#[test]
fn a_client_that_has_sent_nothing_whole_by_then_is_told() {
    let place = Place::new();
    let server =
        serve(&place, &["--until", "newline", "--read-deadline", "100ms", "--linger", "100ms"]);
    let mut peer = Peer::connect(&place.socket);
    peer.write(b"hel");
    server.freeze();
    std::thread::sleep(Duration::from_millis(200));
    server.thaw();
    let why = "no whole request within 100ms: end it with a newline, or half-close";
    assert_eq!(peer.read_to_end(), format!("ERR {why}\n").as_bytes());
    assert_ended(&server, "refused", Some(why));
    assert_serves(&server, &place);
}

/// The soak found it: the server stood still for longer than the pause that ends a request, took the pause
/// for the client's, and answered to a part.
#[test]
fn a_pause_in_which_the_server_stood_still_ends_no_request() {
    let place = Place::new();
    let server = serve(&place, &["--", "wc", "-c"]);
    let mut peer = Peer::connect(&place.socket);
    peer.write(&vec![b'x'; 100_000]);
    // The test takes time: the server waits for more, and is stopped for longer than it would wait.
    std::thread::sleep(Duration::from_millis(30));
    server.freeze();
    std::thread::sleep(Duration::from_millis(400));
    server.thaw();
    std::thread::sleep(Duration::from_millis(30));
    peer.write(&vec![b'x'; 100_000]);
    peer.half_close();
    assert_eq!(String::from_utf8_lossy(&peer.read_to_end()).trim(), "200000");
    assert_ended(&server, "answered", None);
}
