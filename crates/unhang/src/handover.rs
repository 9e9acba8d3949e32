//! Replacing a running server: it hands its listening descriptor over, so that the socket's file,
//! its queue and its clients stay where they are.
//!
//! The successor connects to `PATH.ctl` and asks; it gets the listener, the control socket and the
//! lock (`SCM_RIGHTS`, unix(7)); once it serves, it says so, and the old server drains. Until then the
//! old one goes on as if nothing had been asked.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::address::Address;
use crate::error::Error;
use crate::peer;
use crate::socket_file::{self, Identity, SocketFile};

/// What the successor asks, with the version of what follows.
pub(crate) const ASK: &str = "unhang replace 1\n";

/// What somebody asks who only wants to know whom the server waits for, with the version of the
/// answer: where a request ends (`until newline`), and the lines of
/// [`InFlight`](crate::in_flight::InFlight::lines).
const ASK_IN_FLIGHT: &str = "unhang in-flight 1\n";

/// What it says when it serves.
const READY: &str = "ready\n";

/// How long either side waits for the other's word. It takes microseconds; a successor that reads
/// its own configuration in between may take seconds.
const PATIENCE: Duration = Duration::from_secs(10);

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
        let _ = (&self.0).write_all(READY.as_bytes());
    }
}

/// Asks the server at the address for its socket. `None` where there is nobody to ask.
pub(crate) fn ask(address: &Address) -> Result<Option<(Estate, Predecessor)>, Error> {
    let Some(control) = address.control() else { return Ok(None) };
    let failed = |error| Error::setup(address, "take the socket over from its server", error);
    let asked = Instant::now();
    loop {
        let Some(stream) = connect(&control, PATIENCE).map_err(failed)? else { return Ok(None) };
        match receive(address, &control, stream) {
            // By now another may serve, or nobody.
            Err(error) if has_ended(&error) && asked.elapsed() < PATIENCE => sleep(AGAIN),
            answer => return answer.map(Some).map_err(failed),
        }
    }
}

/// Whether the server that was asked has ended, or has been replaced by another, without a word.
fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn connect(control: &Address, patience: Duration) -> io::Result<Option<UnixStream>> {
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let stream = UnixStream::from(socket);
    // Before it connects: the queue of a server that is stopped may be full.
    set_patience(&stream, patience)?;
    let address = control.to_kernel()?;
    match retry_on_intr(|| rustix::net::connect(&stream, &address)) {
        Ok(()) => Ok(Some(stream)),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        Err(Errno::AGAIN) => Err(io::Error::other("nobody accepts at its control socket")),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn receive(
    address: &Address,
    control: &Address,
    stream: UnixStream,
) -> io::Result<(Estate, Predecessor)> {
    // Whoever may write to the folder could have put a socket of theirs there.
    trust(&stream)?;
    (&stream).write_all(ASK.as_bytes())?;

    let mut text = [0; 128];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [IoSliceMut::new(&mut text)];
    // With a timeout set, a process that was stopped and goes on has its wait interrupted: signal(7).
    let received = retry_on_intr(|| {
        rustix::net::recvmsg(&stream, buffers, &mut rights, RecvFlags::CMSG_CLOEXEC)
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
    set_patience(stream, TO_ASK)?;
    if let Err(error) = trust(stream) {
        let _ = writeln!(&*stream, "{error}");
        return Err(error);
    }
    match expect(stream, &[ASK, ASK_IN_FLIGHT])? {
        0 => Ok(Question::Replace),
        _ => Ok(Question::InFlight),
    }
}

/// Gives everything to whoever has asked, and waits until it serves. An error, and nothing has
/// changed, when it does not.
pub(crate) fn give(estate: &Estate, stream: &UnixStream) -> io::Result<()> {
    let Some(control) = &estate.control else { return Err(Errno::BADF.into()) };
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
    retry_on_intr(|| rustix::net::sendmsg(stream, buffers, &mut rights, SendFlags::NOSIGNAL))?;

    set_patience(stream, PATIENCE)?;
    expect(stream, &[READY]).map(|_| ())
}

/// Reads a line that must be one of these; gives which.
pub(crate) fn expect(mut stream: &UnixStream, lines: &[&str]) -> io::Result<usize> {
    let mut got = Vec::new();
    // What follows the line in the same write is read with it, and must be nothing.
    BufReader::new(stream).take(256).read_until(b'\n', &mut got)?;
    if let Some(which) = lines.iter().position(|line| got == line.as_bytes()) {
        return Ok(which);
    }
    let expected = lines.iter().map(|line| format!("{line:?}")).collect::<Vec<_>>().join(" or ");
    let complaint = format!("expected {expected}, got {:?}", String::from_utf8_lossy(&got));
    let _ = writeln!(stream, "{complaint}");
    Err(io::Error::other(complaint))
}

fn trust(stream: &UnixStream) -> io::Result<()> {
    let ours = rustix::process::geteuid().as_raw();
    match peer::of(stream.as_fd()) {
        Some(peer) if peer.uid == ours || peer.uid == 0 => Ok(()),
        peer => {
            let uid = peer.map_or("nobody known".to_owned(), |peer| peer.uid.to_string());
            let complaint = format!("the other side runs as user {uid}, expected {ours} or root");
            Err(io::Error::new(io::ErrorKind::PermissionDenied, complaint))
        }
    }
}

fn set_patience(stream: &UnixStream, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It waited for ever: in a sticky folder anybody can be first to listen there, and accept nobody.
    #[test]
    fn a_control_socket_that_accepts_nobody_is_not_waited_for_without_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let control = Address::new(folder.path().join("app.sock.ctl")).unwrap();
        let (socket, _file) = socket_file::bind(&control, MODE).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let patience = Duration::from_millis(50);
        let queued = connect(&control, patience).unwrap();
        assert!(queued.is_some(), "the one that fits");
        let error = connect(&control, patience).unwrap_err();
        assert!(error.to_string().contains("nobody accepts"), "{error}");
    }
}
