//! Bytes that mean nothing: what they are is the handler's business, and none is special here.

use super::{is_answer, next_exchange, serve};
use crate::support::Place;
use crate::support::peer::Peer;

#[test]
fn any_bytes_are_a_request_and_none_reaches_the_log_as_it_is() {
    let place = Place::new();
    let server = serve(&place, &["--until", "half-close"]);
    let all_bytes: Vec<u8> = (0..=255).collect();
    let zeros = vec![0; 100_000];
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for garbage in [&all_bytes[..], &zeros, tls_hello, b"\xff\xfe\x00\x1b[2J\r\n\n", b"\n"] {
        let mut peer = Peer::connect(&place.socket);
        peer.write(garbage);
        peer.half_close();
        assert!(is_answer(&peer.read_to_end()));
        let line = next_exchange(&server);
        assert_eq!(line["ended"], "answered", "{line}");
        assert_eq!(line["bytes_in"], garbage.len(), "{line}");
    }
}
