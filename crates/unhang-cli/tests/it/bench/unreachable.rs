//! If nobody can be connected to, that is said before any load: why, and what to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use super::{run, said};
use crate::support::Place;

type Case = (fn(&Place), [&'static str; 2]);

#[test]
fn a_server_that_cannot_be_reached_is_told_with_the_cause_and_what_to_do() {
    let cases: [Case; 3] = [
        (|_| {}, ["no such file", "Start the server, or correct the path"]),
        (|place| fs::write(&place.socket, "").unwrap(), ["it is not a socket", "Correct the path"]),
        (
            |place| drop(UnixListener::bind(&place.socket).unwrap()),
            ["nobody listens on it", "left the file behind: start it again"],
        ),
    ];
    for (prepare, [cause, advice]) in cases {
        let place = Place::new();
        prepare(&place);
        let output = run(&place.socket, &[]);
        assert_eq!(output.status.code(), Some(3));
        let cause = format!("unhang bench: {}: cannot connect: {cause}", place.socket.display());
        for words in [&cause[..], advice] {
            assert!(said(&output).contains(words), "{words:?} in {}", said(&output));
        }
    }
}

#[test]
fn a_socket_of_another_type_is_told_as_such() {
    let place = Place::new();
    let _socket = UnixDatagram::bind(&place.socket).unwrap();
    let output = run(&place.socket, &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("it is not a stream socket"), "{}", said(&output));
}

#[test]
fn nobody_at_a_name_or_a_port_has_left_no_file_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("tcp:{}", listener.local_addr().unwrap());
    drop(listener);
    for target in [&port[..], "@unhang-bench-nobody"] {
        let output = run(target, &[]);
        assert_eq!(output.status.code(), Some(3));
        let expected = "cannot connect: nobody listens on it. Start the server, or correct the";
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
}

#[test]
fn a_queue_that_stays_full_leads_to_why() {
    let place = Place::new();
    let listener = super::bad_servers::full(&place);
    let _waiting = [(); 2].map(|()| UnixStream::connect(&place.socket).unwrap());
    let output = run(&place.socket, &["--timeout", "100ms"]);
    assert_eq!(output.status.code(), Some(3));
    let command = format!("unhang why {}", place.socket.display());
    for word in ["the accept queue stayed full for 100.0ms", &command] {
        assert!(said(&output).contains(word), "{word:?} in {}", said(&output));
    }
    drop(listener);
}
