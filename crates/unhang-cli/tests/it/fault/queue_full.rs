//! The accept queue is full, because the server does not run.

use std::process::Command;

use super::{assert_serves, is_answer, next_exchange, serve};
use crate::support::peer::Peer;
use crate::support::{Place, UNHANG};

#[test]
fn a_caller_is_told_and_all_clients_in_the_queue_are_answered() {
    let place = Place::new();
    let server = serve(&place, &["--backlog", "1"]);
    server.freeze();
    // A backlog of one lets two in: the kernel refuses when there are more than it says.
    let mut queued = [(); 2].map(|()| Peer::connect(&place.socket));
    for peer in &mut queued {
        peer.write(b"hello");
    }
    let mut call = Command::new(UNHANG);
    call.args(["call", "--deadline", "200ms"]).arg(&place.socket).arg("hello");
    let refused = call.output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("the accept queue stayed full"), "{said}");

    server.thaw();
    for mut peer in queued {
        assert!(is_answer(&peer.read_to_end()));
        assert_eq!(next_exchange(&server)["ended"], "answered");
    }
    // It never was in the queue, so the log knows nothing of it.
    assert_serves(&server, &place);
}
