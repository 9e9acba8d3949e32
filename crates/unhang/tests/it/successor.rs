//! What becomes of a successor whose old server does not do its part.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::channel;

use rustix::fs::{FlockOperation, flock};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tempfile::TempDir;
use unhang::{Bind, ErrorKind, Event, Listener, Phase, Server, Whose};

use crate::support::{PATIENCE, ask, connect, read_to_end, serve};

/// A server that hands over as it should, and then does what a test wants.
struct OldServer {
    directory: TempDir,
    path: PathBuf,
    socket: UnixListener,
    control: UnixListener,
    lock: File,
}

impl OldServer {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("s");
        let socket = UnixListener::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let control = UnixListener::bind(directory.path().join("s.ctl")).unwrap();
        let lock = File::create(directory.path().join("s.lock")).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        Self { directory, path, socket, control, lock }
    }

    /// Gives the successor, and the stream that its next word comes from.
    fn hand_over(&self) -> (Listener, UnixStream) {
        std::thread::scope(|scope| {
            let successor = scope.spawn(|| Bind::new(&self.path).replace(true).listen());
            let (mut stream, _) = self.control.accept().unwrap();
            assert_eq!(line(&mut stream), "unhang replace 1\n");
            let descriptors = [self.socket.as_fd(), self.control.as_fd(), self.lock.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut rights = SendAncillaryBuffer::new(&mut space);
            rights.push(SendAncillaryMessage::ScmRights(&descriptors));
            let file = self.path.metadata().unwrap();
            let text = format!("{} {}\n", file.dev(), file.ino());
            let text = [IoSlice::new(text.as_bytes())];
            rustix::net::sendmsg(&stream, &text, &mut rights, SendFlags::NOSIGNAL).unwrap();
            (successor.join().unwrap().unwrap(), stream)
        })
    }

    /// A server that may begin to serve here has the lock.
    fn holds_the_lock(&self) -> bool {
        let other = File::open(self.directory.path().join("s.lock")).unwrap();
        flock(other, FlockOperation::NonBlockingLockExclusive).is_err()
    }
}

fn line(stream: &mut UnixStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

/// It served beside it, and whichever of the two stopped first closed the socket for the other.
#[test]
fn a_successor_that_was_too_slow_does_not_serve_beside_the_old_server() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let (goes_on, is_told) = channel();
    let old = Server::bind(&path).unwrap().observe(move |event| {
        if let Event::NotReplaced { error, .. } = event {
            goes_on.send(error.to_string()).unwrap();
        }
    });
    let (stop, old) = serve(old);
    assert_eq!(ask(&path, "hello"), "hello", "it serves");
    let listener = Bind::new(&path).replace(true).listen().unwrap();
    // Reads its configuration, say, until it has been given up.
    assert_eq!(is_told.recv_timeout(PATIENCE).unwrap(), "it did not serve within 10s");
    let (_stop_new, new) = serve(Server::new(listener));
    let error = new.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotReplaced { .. }), "{error}");
    assert_eq!((error.phase(), error.whose()), (Phase::Setup, Whose::Caller));
    assert!(error.to_string().contains("its successor did not serve within 10s"), "{error}");

    assert_eq!(ask(&path, "hello"), "hello", "the old one has kept its socket");
    assert!(Server::bind(&path).is_err(), "and its lock");
    stop.send(()).unwrap();
    old.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(!path.exists(), "and its file, until it ended");
}

#[test]
fn a_successor_that_is_told_that_the_other_goes_on_takes_nothing_with_it() {
    let old_server = OldServer::new();
    let (listener, mut stream) = old_server.hand_over();
    stream.write_all(b"it has changed its mind\n").unwrap();
    let (_stop, served) = serve(Server::new(listener));
    let error = served.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(error.to_string().contains("goes on, as it has changed its mind"), "{error}");
    assert_eq!(line(&mut stream), "ready\n");
    drop(connect(&old_server.path));
    assert!(old_server.socket.accept().is_ok(), "whoever comes is still the old one's");
    assert!(old_server.holds_the_lock());
}

#[test]
fn a_successor_whose_old_server_has_died_meanwhile_serves() {
    let old_server = OldServer::new();
    let (listener, stream) = old_server.hand_over();
    drop(stream);
    let OldServer { directory: _directory, path, .. } = old_server;
    let (_stop, _served) = serve(Server::new(listener));
    assert_eq!(ask(&path, "hello"), "hello");
}

/// As one does that is older than the answer.
#[test]
fn an_old_server_that_leaves_without_a_word_is_not_waited_for() {
    let old_server = OldServer::new();
    let (listener, mut stream) = old_server.hand_over();
    let (_stop, served) = serve(Server::new(listener));
    assert_eq!(line(&mut stream), "ready\n");
    let mut client = connect(&old_server.path);
    client.write_all(b"hello").unwrap();
    assert!(served.try_recv().is_err(), "it waits for the answer");
    drop(stream);
    assert_eq!(read_to_end(client), "hello");
}

/// It was told that another serves it, as one is that was not to replace it.
#[test]
fn a_successor_of_a_server_that_cannot_be_replaced_is_told_why() {
    let directory = TempDir::new().unwrap();
    let named = |bytes: usize| {
        let directory = directory.path().as_os_str().len();
        "s".repeat(bytes - directory - 1)
    };
    std::fs::write(directory.path().join("taken.ctl"), "").unwrap();
    for (name, replaceable, why) in [
        (named(104), true, "its name has 104 bytes, and up to 103 leave room for .ctl"),
        ("taken".into(), true, "taken.ctl is a regular file"),
        ("alone".into(), false, "nobody listens at"),
    ] {
        let path = directory.path().join(name);
        let bind = Bind::new(&path).replaceable(replaceable);
        let (_stop, _served) = serve(Server::new(bind.listen().unwrap()));
        let error = Bind::new(&path).replace(true).listen().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotReplaceable { pid: Some(_), .. }), "{error}");
        assert_eq!(error.whose(), Whose::Caller);
        let said = error.to_string();
        assert!(said.contains("serves it already. It cannot be replaced: "), "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(ask(&path, "hello"), "hello");
    }
    let path = directory.path().join(named(103));
    let (_stop, _served) = serve(Server::bind(&path).unwrap());
    drop(Bind::new(&path).replace(true).listen().unwrap());
}

/// Regression: a successor that made the listener blocking hung its old server in the next accept, deaf to
/// SIGTERM.
#[test]
fn a_successor_that_makes_the_listener_blocking_does_not_hold_the_old_server() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let (_stop, old) = serve(Server::bind(&path).unwrap());
    assert_eq!(ask(&path, "hello"), "hello");
    let mut stream = connect(&directory.path().join("s.ctl"));
    stream.write_all(b"unhang replace 1\n").unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 128];
    let buffers = &mut [IoSliceMut::new(&mut text)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(&stream, buffers, &mut ancillary, flags).unwrap();
    let messages = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let given: Vec<_> = messages.flatten().collect();
    let listener = &given[0];
    rustix::io::ioctl_fionbio(listener, false).unwrap();
    stream.write_all(b"ready\n").unwrap();
    assert_eq!(line(&mut stream), "yours\n");
    rustix::io::ioctl_fionbio(listener, false).unwrap();
    let ended = old.recv_timeout(PATIENCE);
    // An old server that hangs in accept is woken by this.
    drop(UnixStream::connect(&path));
    ended.unwrap().unwrap();
}
