//! A client that connects and says nothing.

use super::{assert_ended, assert_serves, serve};
use crate::support::Place;
use crate::support::peer::Peer;

#[test]
fn it_is_told_what_was_waited_for() {
    let place = Place::new();
    let server = serve(&place, &["--read-deadline", "200ms"]);
    let why = "no whole request within 200ms: send it, and half-close if it comes in pieces";
    let told = Peer::connect(&place.socket).read_to_end();
    assert_eq!(told, format!("ERR {why}\n").as_bytes());
    assert_ended(&server, "refused", Some(why));
    assert_serves(&server, &place);
}
