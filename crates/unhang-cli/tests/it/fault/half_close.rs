//! A client that ends its side at once, without a byte.

use super::{is_answer, next_exchange, serve};
use crate::support::Place;
use crate::support::peer::Peer;

#[test]
fn an_empty_request_is_answered() {
    for until in ["dry", "newline", "half-close"] {
        let place = Place::new();
        let server = serve(&place, &["--until", until]);
        let mut peer = Peer::connect(&place.socket);
        peer.half_close();
        assert!(is_answer(&peer.read_to_end()), "until {until}");
        let line = next_exchange(&server);
        assert_eq!((&line["ended"], &line["bytes_in"]), (&"answered".into(), &0.into()), "{line}");
    }
}
