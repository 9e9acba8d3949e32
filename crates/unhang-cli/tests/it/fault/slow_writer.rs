//! A client that sends a byte now and then, and never an end.

use std::time::Duration;

use super::{assert_serves, next_exchange, serve};
use crate::support::Place;
use crate::support::peer::Peer;

/// The deadline is for the request and not for the next byte, or a byte now and then would hold a
/// place for ever.
#[test]
fn no_byte_extends_the_deadline() {
    let place = Place::new();
    let server =
        serve(&place, &["--until", "newline", "--read-deadline", "300ms", "--linger", "100ms"]);
    let mut peer = Peer::connect(&place.socket);
    let why = "no whole request within 300ms: end it with a newline, or half-close";
    // Twenty bytes fit into the deadline; the server ends it, however many more are meant to come.
    let cut = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(15));
        peer.try_write(b"x").is_err()
    });
    assert!(cut, "a thousand bytes were taken, one by one");
    assert_eq!(peer.try_read_to_end().0, format!("ERR {why}\n").as_bytes());
    let line = next_exchange(&server);
    assert_eq!((line["ended"].as_str(), line["why"].as_str()), (Some("refused"), Some(why)));
    assert!(line["bytes_in"].as_u64().unwrap() > 1, "{line}");
    assert_serves(&server, &place);
}
