//! The socket file is deleted, or another is put in its place, while the server lives.

use std::fs;
use std::os::unix::net::UnixListener;

use serde_json::Value;

use super::{is_answer, next_exchange, serve};
use crate::support::Place;
use crate::support::daemon::Daemon;
use crate::support::peer::Peer;

fn await_loss(server: &Daemon) -> Value {
    serde_json::from_str(&server.await_line("\"socket_lost\"")).unwrap()
}

/// Connected clients are served, and at the end the log has said it once.
fn goes_on(server: Daemon, mut inside: Peer) {
    inside.write(b"hello\n");
    assert!(is_answer(&inside.read_to_end()));
    assert_eq!(next_exchange(&server)["ended"], "answered");
    let (status, lines) = server.stop();
    assert!(status.success());
    assert!(!lines.iter().any(|line| line.contains("socket_lost")), "{lines:#?}");
}

#[test]
fn deleted_the_log_says_so_and_connected_clients_are_served() {
    let place = Place::new();
    let server = serve(&place, &["--until", "newline"]);
    let inside = Peer::connect(&place.socket);
    fs::remove_file(&place.socket).unwrap();
    let loss = await_loss(&server);
    assert_eq!(loss["how"], "deleted", "{loss}");
    assert!(loss["next"].as_str().unwrap().contains("restart"), "{loss}");
    goes_on(server, inside);
}

#[test]
fn replaced_the_log_says_so_and_the_others_file_is_left_alone() {
    let place = Place::new();
    let server = serve(&place, &["--until", "newline"]);
    let inside = Peer::connect(&place.socket);
    // Made elsewhere and moved here, so that there is no moment without a file.
    let other = place.directory.path().join("other");
    let _other = UnixListener::bind(&other).unwrap();
    fs::rename(&other, &place.socket).unwrap();
    let loss = await_loss(&server);
    assert_eq!(loss["how"], "replaced", "{loss}");
    goes_on(server, inside);
    assert!(place.socket.exists());
}

#[test]
fn a_stop_removes_the_file_itself_and_that_is_no_loss() {
    for _ in 0..20 {
        let place = Place::new();
        let (_, lines) = serve(&place, &[]).stop();
        assert!(!lines.iter().any(|line| line.contains("socket_lost")), "{lines:#?}");
    }
}
