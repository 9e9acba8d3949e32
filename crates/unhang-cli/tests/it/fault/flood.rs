//! A client that sends a gibibyte.

use super::{is_answer, next_exchange, serve};
use crate::support::Place;
use crate::support::peer::Peer;

const GIBIBYTE: usize = 1 << 30;

#[test]
fn a_gibibyte_is_cut_off_told_and_never_held() {
    let place = Place::new();
    // No end but the half-close, which never comes; so only the size can end it.
    let server = serve(&place, &["--until", "half-close", "--linger", "50ms"]);
    let mut peer = Peer::connect(&place.socket);
    let chunk = vec![b'x'; 1 << 20];
    let mut sent = 0;
    while sent < GIBIBYTE && peer.try_write(&chunk).is_ok() {
        sent += chunk.len();
    }
    let why = "the request is longer than 1048576 bytes";
    // A client that ignores its answer for longer than the linger deadline may find a reset behind
    // it, but never instead of it.
    assert_eq!(peer.try_read_to_end().0, format!("ERR {why}\n").as_bytes());
    let line = next_exchange(&server);
    assert_eq!((line["ended"].as_str(), line["why"].as_str()), (Some("refused"), Some(why)));
    assert!(line["bytes_in"].as_u64().unwrap() > 1 << 20, "{line}");
    assert!(server.peak_memory() < 64 << 20, "{} bytes", server.peak_memory());

    drop(peer);
    let mut next = Peer::connect(&place.socket);
    next.half_close();
    assert!(is_answer(&next.read_to_end()));
}
