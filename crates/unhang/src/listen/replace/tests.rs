//! Each side of a replacement, with another that does not do its part.

use std::os::fd::AsFd;

use super::*;
use crate::error::{Phase, Whose};
use crate::listen::control::MODE;
use crate::listen::file;

/// It waited for ever: in a sticky directory any user can be first to listen there, and accept nobody.
#[test]
fn a_control_socket_that_accepts_nobody_is_not_waited_for_without_a_bound() {
    let directory = tempfile::tempdir().unwrap();
    let control = Address::new(directory.path().join("app.sock.ctl")).unwrap();
    let (socket, _file) = file::bind(&control, MODE).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let soon = || Instant::now() + Duration::from_millis(50);
    let queued = connect(&control, soon()).unwrap();
    assert!(queued.is_some(), "the one that fits");
    let error = connect(&control, soon()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

/// It was told `Resource temporarily unavailable (os error 11)`.
#[test]
fn a_server_that_does_not_answer_is_called_so() {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::new(directory.path().join("app.sock")).unwrap();
    let (socket, _file) = file::bind(&address.control().unwrap(), MODE).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    for what in ["it is connected", "the queue is full"] {
        let error = ask_within(&address, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.whose(), Whose::Server, "{what}");
        let said = error.to_string();
        assert!(said.contains("did not answer within 50ms. Is it stopped?"), "{what}: {said}");
        assert!(said.contains("unhang why"), "{what}: {said}");
    }
}

/// An old server that gives its parts, with or without its lock.
fn give_parts(
    address: &Address,
    with_lock: bool,
    stream: &UnixStream,
    patience: Duration,
) -> io::Result<()> {
    let path = address.path().unwrap();
    let lock = file::lock(address, path).unwrap();
    let (socket, file) = file::bind(address, 0o600).unwrap();
    let control = Control::new(address).unwrap().unwrap().socket().unwrap();
    let given = Given {
        socket: socket.as_fd(),
        file: file.as_ref().map(|file| file.identity),
        control: control.as_fd(),
        lock: with_lock.then(|| lock.as_fd()),
    };
    give(&given, stream, patience)
}

/// Both served, and whichever stopped first closed the socket for the other.
#[test]
fn a_successor_that_comes_too_late_is_told_and_does_not_serve() {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::new(directory.path().join("s")).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let error = give_parts(&address, true, &ours, Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.to_string(), "it did not serve within 50ms");
    drop(ours);
    line::read_line(&theirs, Instant::now() + PATIENCE).unwrap();
    let error = OldServer(theirs).take_leave(&address).unwrap_err();
    assert_eq!((error.phase(), error.whose()), (Phase::Setup, Whose::Caller));
    let said = error.to_string();
    assert!(said.contains("goes on, as its successor did not serve within 50ms"), "{said}");
}

#[test]
fn of_a_server_that_does_not_answer_its_successor_exactly_one_goes_on() {
    let address = Address::new("/nonexistent/app.sock").unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let successor = OldServer(theirs);
    let left = successor.take_leave_within(&address, Duration::from_millis(50));
    let error = left.unwrap_err();
    assert_eq!(error.whose(), Whose::Server);
    assert!(error.to_string().contains("did not answer within 50ms"), "{error}");
    // It goes on now, and finds that it has been asked in time.
    let deadline = Instant::now() + PATIENCE;
    assert_eq!(line::expect(&ours, &[READY], deadline).unwrap(), 0);
    assert!(line::write(&ours, YOURS, deadline).is_err(), "it would leave it to nobody");
}

#[test]
fn a_successor_that_has_its_answer_serves_however_late_it_is() {
    let address = Address::new("/nonexistent/app.sock").unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    line::write(&ours, YOURS, Instant::now() + PATIENCE).unwrap();
    OldServer(theirs).take_leave_within(&address, Duration::ZERO).unwrap();
}

/// It did, and others could take the lock that it had not.
#[test]
fn a_successor_that_gets_no_lock_does_not_serve() {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::new(directory.path().join("s")).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let control = address.control().unwrap();
    let giver = address.clone();
    let given = std::thread::spawn(move || give_parts(&giver, false, &ours, PATIENCE));
    let received = receive(&address, &control, theirs, Instant::now() + PATIENCE);
    let error = received.unwrap_err();
    assert!(error.to_string().contains("expected its lock"), "{error}");
    assert!(given.join().unwrap().is_err(), "it goes on");
}
