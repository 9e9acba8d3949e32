//! Replacing a running server: it hands its listening descriptor over, so that the socket's file,
//! its queue and its clients stay where they are.
//!
//! The successor connects to `PATH.ctl` and asks; it gets the listener, the control socket and the
//! lock (`SCM_RIGHTS`, unix(7)); once it serves, it says so, and the old server drains. Until then the
//! old one goes on as if nothing had been asked.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::address::Address;
use crate::dialog::{self, within};
use crate::error::{Error, ErrorKind};
use crate::socket_file::{self, Identity, SocketFile};

/// What the successor asks, with the version of what follows.
pub(crate) const ASK: &str = "unhang replace 1\n";

/// What somebody asks who only wants to know whom the server waits for, with the version of the
/// answer: where a request ends (`until newline`), and the lines of
/// [`InFlight`](crate::in_flight::InFlight::lines).
const ASK_IN_FLIGHT: &str = "unhang in-flight 1\n";

/// What it says when it serves.
const READY: &str = "ready\n";

/// How long either side waits for the other, in all. It takes microseconds; a successor that reads
/// its own configuration in between may take seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long whoever has connected may take to ask. All who do ask at once; one that does not holds up
/// those behind it, and the end of the server.
const TO_ASK: Duration = Duration::from_secs(1);

/// The pause before a server is asked again: whoever ended while it was asked is gone in a moment.
const AGAIN: Duration = Duration::from_millis(10);

/// Nobody but the same user, and root, may ask; and nobody else can connect.
const MODE: u32 = 0o600;

/// Where a successor asks.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    file: Option<SocketFile>,
}

/// The server that still serves.
#[derive(Debug)]
pub(crate) struct Predecessor(UnixStream);

/// All that makes a server the one at its address.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) socket: OwnedFd,
    /// Its file, unless the name is abstract.
    pub(crate) file: Option<SocketFile>,
    /// Where a successor asks for all this.
    pub(crate) control: Option<Control>,
    /// Dropped last: until the file is gone nobody else may begin.
    pub(crate) lock: Option<File>,
}

impl Control {
    /// `None` where there can be none: the name is too long for the four bytes more, or taken by
    /// something that is not a socket. Then this server cannot be replaced, but serves.
    pub(crate) fn new(address: &Address) -> Option<Self> {
        let address = address.control()?;
        if let Some(path) = address.path() {
            socket_file::make_way(&address, path).ok()?;
        }
        let (socket, file) = socket_file::bind(&address, MODE).ok()?;
        rustix::net::listen(&socket, 1).ok()?;
        Some(Self { socket, file })
    }

    pub(crate) fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(UnixListener::from(self.socket.try_clone()?))
    }

    pub(crate) fn remove(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

impl Predecessor {
    pub(crate) fn tell_ready(&self) {
        // If it is gone by now, it has no need to know.
        let _ = dialog::write(&self.0, READY, Instant::now() + PATIENCE);
    }
}

/// Asks the server at the address for its socket. `None` where there is nobody to ask.
pub(crate) fn ask(address: &Address) -> Result<Option<(Estate, Predecessor)>, Error> {
    ask_within(address, PATIENCE)
}

fn ask_within(
    address: &Address,
    patience: Duration,
) -> Result<Option<(Estate, Predecessor)>, Error> {
    let Some(control) = address.control() else { return Ok(None) };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => {
            Error::new(address, ErrorKind::NotHandedOver { waited: patience })
        }
        _ => Error::setup(address, "take the socket over from its server", error),
    };
    let deadline = Instant::now() + patience;
    loop {
        let Some(stream) = connect(&control, deadline).map_err(failed)? else { return Ok(None) };
        match receive(address, &control, stream, deadline) {
            // By now another may serve, or nobody.
            Err(error) if has_ended(&error) && Instant::now() < deadline => sleep(AGAIN),
            answer => return answer.map(Some).map_err(failed),
        }
    }
}

/// Whether the server that was asked has ended, or has been replaced by another, without a word.
fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn connect(control: &Address, deadline: Instant) -> io::Result<Option<UnixStream>> {
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let stream = UnixStream::from(socket);
    let address = control.to_kernel()?;
    // Not for ever: the queue of a server that is stopped may be full.
    match within(&stream, deadline, || Ok(rustix::net::connect(&stream, &address)?)) {
        Ok(()) => Ok(Some(stream)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
            _ => Err(error),
        },
    }
}

pub(crate) fn receive(
    address: &Address,
    control: &Address,
    stream: UnixStream,
    deadline: Instant,
) -> io::Result<(Estate, Predecessor)> {
    // Whoever may write to the folder could have put a socket of theirs there.
    dialog::trust(&stream)?;
    // One that does not hear it may have said why.
    let _ = dialog::write(&stream, ASK, deadline);

    let mut text = [0; 128];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [IoSliceMut::new(&mut text)];
    let received = within(&stream, deadline, || {
        Ok(rustix::net::recvmsg(&stream, buffers, &mut rights, RecvFlags::CMSG_CLOEXEC)?)
    })?;
    let mut descriptors = rights.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = String::from_utf8_lossy(&text[..received.bytes]);
    let (Some(socket), Some(control_socket)) = (descriptors.next(), descriptors.next()) else {
        let got = text.trim_end();
        return Err(io::Error::other(format!("expected its sockets, got {got:?}")));
    };
    let lock = descriptors.next().map(File::from);
    let estate = Estate {
        socket,
        file: file(address, &text),
        control: Some(Control {
            socket: control_socket,
            file: control.path().and_then(|path| {
                Some(SocketFile { path: path.to_path_buf(), identity: Identity::of(path).ok()? })
            }),
        }),
        lock,
    };
    Ok((estate, Predecessor(stream)))
}

/// Reads `<device> <inode>`: only the server that made the file knows which one is its own.
pub(crate) fn file(address: &Address, text: &str) -> Option<SocketFile> {
    let (device, inode) = text.trim_end().split_once(' ')?;
    let identity = Identity { device: device.parse().ok()?, inode: inode.parse().ok()? };
    Some(SocketFile { path: PathBuf::from(address.path()?), identity })
}

/// What is asked at the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Replace,
    InFlight,
}

/// Reads what is asked, by somebody who may.
pub(crate) fn question(stream: &UnixStream) -> io::Result<Question> {
    stream.set_nonblocking(false)?;
    let deadline = Instant::now() + TO_ASK;
    if let Err(error) = dialog::trust(stream) {
        let _ = dialog::write(stream, &format!("{error}\n"), deadline);
        return Err(error);
    }
    match dialog::expect(stream, &[ASK, ASK_IN_FLIGHT], deadline) {
        Ok(0) => Ok(Question::Replace),
        Ok(_) => Ok(Question::InFlight),
        Err(error) => Err(in_words(error, || format!("it did not ask within {TO_ASK:?}"))),
    }
}

/// Tells whoever has asked. Who leaves before it has read the answer does not want it.
pub(crate) fn tell(stream: &UnixStream, answer: &str) {
    let _ = dialog::write(stream, answer, Instant::now() + TO_ASK);
}

/// Tells whoever is about to ask that nobody can hear them, so that they do not ask again and again.
/// Without a wait: there is room for the first line.
pub(crate) fn tell_at_once(stream: &UnixStream, why: &str) {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let _ = rustix::net::send(stream, why.as_bytes(), flags);
}

/// Gives everything to whoever has asked, and waits until it serves. An error, and nothing has
/// changed, when it does not.
pub(crate) fn give(estate: &Estate, stream: &UnixStream) -> io::Result<()> {
    let Some(control) = &estate.control else { return Err(Errno::BADF.into()) };
    let deadline = Instant::now() + PATIENCE;
    let mut descriptors = vec![estate.socket.as_fd(), control.socket.as_fd()];
    descriptors.extend(estate.lock.as_ref().map(AsFd::as_fd));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    rights.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = match &estate.file {
        Some(file) => format!("{} {}\n", file.identity.device, file.identity.inode),
        None => "no file\n".to_owned(),
    };
    let buffers = &[IoSlice::new(text.as_bytes())];
    within(stream, deadline, || {
        Ok(rustix::net::sendmsg(stream, buffers, &mut rights, SendFlags::NOSIGNAL)?)
    })?;
    let ready = dialog::expect(stream, &[READY], deadline);
    let late = || format!("it did not serve within {PATIENCE:?}");
    ready.map(|_| ()).map_err(|error| in_words(error, late))
}

/// What did not come in time.
fn in_words(error: io::Error, late: impl FnOnce() -> String) -> io::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(error.kind(), late()),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Whose;

    /// It waited for ever: in a sticky folder anybody can be first to listen there, and accept nobody.
    #[test]
    fn a_control_socket_that_accepts_nobody_is_not_waited_for_without_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let control = Address::new(folder.path().join("app.sock.ctl")).unwrap();
        let (socket, _file) = socket_file::bind(&control, MODE).unwrap();
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
        let folder = tempfile::tempdir().unwrap();
        let address = Address::new(folder.path().join("app.sock")).unwrap();
        let (socket, _file) = socket_file::bind(&address.control().unwrap(), MODE).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        for what in ["it is connected", "the queue is full"] {
            let error = ask_within(&address, Duration::from_millis(50)).unwrap_err();
            assert_eq!(error.whose(), Whose::Server, "{what}");
            let said = error.to_string();
            assert!(said.contains("did not answer within 50ms. Is it stopped?"), "{what}: {said}");
            assert!(said.contains("unhang why"), "{what}: {said}");
        }
    }
}
