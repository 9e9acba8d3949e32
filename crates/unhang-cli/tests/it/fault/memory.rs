//! Many large requests at once, more than may be held together.

use super::{is_answer, next_exchange, serve};
use crate::support::Place;
use crate::support::peer::Peer;

const CLIENTS: usize = 64;

#[test]
fn those_that_fit_are_answered_the_others_told_and_the_bound_holds() {
    let place = Place::new();
    // Four requests of a mebibyte fit, of sixty-four, and the beginnings of those that will not.
    let server = serve(&place, &["--until", "half-close", "--max-held", "5MiB"]);
    let message = vec![b'x'; 1 << 20];
    // All but its end, so that nobody's request can be done with before all have sent.
    let mut peers: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut peer = Peer::connect(&place.socket);
            // Fails if the server has turned it away by then.
            let _ = peer.try_write(&message);
            peer
        })
        .collect();
    let (mut answered, mut told) = (0, 0);
    for peer in &mut peers {
        peer.half_close();
        match &peer.read_to_end()[..] {
            b"ERR busy: requests under way hold 5242880 bytes\n" => told += 1,
            reply if is_answer(reply) => answered += 1,
            other => panic!("{:?}", other.escape_ascii().to_string()),
        }
    }
    assert!(answered >= 4 && told > 0, "{answered} answered, {told} told");
    let logged: Vec<_> = (0..CLIENTS).map(|_| next_exchange(&server)).collect();
    let refused = logged.iter().filter(|line| line["ended"] == "refused").count();
    assert_eq!(refused, told);
    assert!(server.peak_memory() < 64 << 20, "{} bytes", server.peak_memory());

    let mut next = Peer::connect(&place.socket);
    next.half_close();
    assert!(is_answer(&next.read_to_end()), "what was held is free again");
}
