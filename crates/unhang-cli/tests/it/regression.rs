//! One test per bug, named after what broke.

use std::time::Duration;

use crate::support::Place;
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;

/// The signal that lets a server go on ends its wait for sockets with no news of them, and its
/// clock is past the deadline: it looked at the clock and not again at the sockets.
#[test]
fn a_request_that_came_while_the_server_was_stopped_was_told_it_is_late() {
    let place = Place::new();
    let server = Daemon::serve(&place.socket, &["--until", "newline", "--read-deadline", "2s"]);
    let mut peer = Peer::connect(&place.socket);
    // Answered after it: the other has been accepted, and is waited for.
    Peer::ask(&place.socket, b"hello\n");
    server.await_idle();
    server.freeze();
    peer.write(b"hello\n");
    std::thread::sleep(Duration::from_millis(2100));
    server.thaw();
    let reply = peer.read_to_end();
    assert!(reply.starts_with(b"OK+ at "), "{:?}", reply.escape_ascii().to_string());
}
