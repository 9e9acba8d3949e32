//! Both ends of `--replace`: the old server passes its listening descriptor to its successor, so that the
//! socket's file, its queue and its clients stay where they are.
//!
//! ```text
//! successor                            old server
//! connect to PATH.ctl          ───►
//! "unhang replace 1"           ───►    is it the same user, or root?
//!                              ◄───    "<device> <inode>" of the file, with the listener, the control
//!                                      socket and the lock (`SCM_RIGHTS`, unix(7))
//! "ready", when it can serve   ───►
//!                              ◄───    "yours": it drains; or the reason why it goes on
//! ```
//!
//! Until the last line the old server goes on as if nothing had been asked, and the successor does not
//! serve: of two servers that share a listener, the first to end would close it for both. control.rs has
//! the words.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::error::{Error, ErrorKind};
use crate::listen::address::Address;
use crate::listen::control::{Control, READY, REPLACE, YOURS, trust};
use crate::listen::control_line::{self as line, in_words, within};
use crate::listen::file::{Identity, SocketFile};
use crate::passed_descriptors::{self, close_elsewhere};

/// How long either side waits for the other, in all. It takes microseconds; a successor that reads
/// its own configuration in between may take seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before a server is asked again: a server that ended while it was asked is gone in a moment.
const AGAIN: Duration = Duration::from_millis(10);

/// The server that serves until its successor says that it can.
#[derive(Debug)]
pub(crate) struct OldServer(UnixStream);

/// All that makes a process the server at its address.
#[derive(Debug)]
pub(crate) struct ListenerParts {
    pub(crate) socket: OwnedFd,
    /// The socket's file; an abstract name has none.
    pub(crate) file: Option<SocketFile>,
    pub(crate) control: Option<Control>,
    pub(crate) lock: Option<File>,
}

/// What the old server passes.
pub(crate) struct Given<'a> {
    pub(crate) socket: BorrowedFd<'a>,
    pub(crate) file: Option<Identity>,
    pub(crate) control: BorrowedFd<'a>,
    pub(crate) lock: Option<BorrowedFd<'a>>,
}

impl OldServer {
    /// Says that this server can serve, and waits until the old one has left it everything. An error if
    /// the old one goes on.
    pub(crate) fn take_leave(&self, address: &Address) -> Result<(), Error> {
        self.take_leave_within(address, PATIENCE)
    }

    fn take_leave_within(&self, address: &Address, patience: Duration) -> Result<(), Error> {
        let stream = &self.0;
        let deadline = Instant::now() + patience;
        // If the old server is gone, what it said before is still to be read.
        let _ = line::write(stream, READY, deadline);
        let mut word = line::read_line(stream, deadline);
        let late = matches!(&word, Err(error) if error.kind() == io::ErrorKind::TimedOut);
        if late {
            // From here on the old server cannot say it any more, and goes on; or it has just said it.
            let _ = stream.shutdown(Shutdown::Read);
            word = line::read_line(stream, deadline);
        }
        match word.unwrap_or_default() {
            word if word == YOURS.as_bytes() => Ok(()),
            word if word.is_empty() && late => {
                Err(Error::new(address, ErrorKind::NotHandedOver { waited: patience }))
            }
            // The old server has died, and this one has all that it had.
            word if word.is_empty() => Ok(()),
            word => {
                let why = String::from_utf8_lossy(&word).trim_end().to_owned();
                Err(Error::new(address, ErrorKind::NotReplaced { why }))
            }
        }
    }
}

/// Asks the server at the address for its socket. `None` if nobody answers there.
pub(crate) fn ask(address: &Address) -> Result<Option<(ListenerParts, OldServer)>, Error> {
    ask_within(address, PATIENCE)
}

fn ask_within(
    address: &Address,
    patience: Duration,
) -> Result<Option<(ListenerParts, OldServer)>, Error> {
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
            // By now another server may serve, or none.
            Err(error) if has_ended(&error) && Instant::now() < deadline => sleep(AGAIN),
            answer => return answer.map(Some).map_err(failed),
        }
    }
}

/// Whether the server that was asked has ended, or was replaced by another, without a word.
fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn connect(control: &Address, deadline: Instant) -> io::Result<Option<UnixStream>> {
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    // A stranger could listen there: its descriptors are taken only once its user is known.
    passed_descriptors::refuse(&socket);
    let stream = UnixStream::from(socket);
    let address = control.to_kernel()?;
    // With a deadline: the queue of a server that is stopped may be full.
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
) -> io::Result<(ListenerParts, OldServer)> {
    // A user that may write to the directory could have put a socket of its own there.
    if let Err(error) = trust(&stream) {
        close_elsewhere(stream.into());
        return Err(error);
    }
    passed_descriptors::allow(&stream);
    // A server that does not hear it may have said why.
    let _ = line::write(&stream, REPLACE, deadline);

    let mut text = [0; 128];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [IoSliceMut::new(&mut text)];
    let received = within(&stream, deadline, || {
        Ok(rustix::net::recvmsg(&stream, buffers, &mut rights, RecvFlags::CMSG_CLOEXEC)?)
    })?;
    // The kernel gives as many as there is room for, and drops the others: recvmsg(2).
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE.into());
    }
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
    if lock.is_none() && address.path().is_some() {
        return Err(io::Error::other("expected its lock, got only its sockets"));
    }
    let parts = ListenerParts {
        socket,
        file: file(address, &text),
        control: Some(Control::of_old_server(control_socket, control)?),
        lock,
    };
    Ok((parts, OldServer(stream)))
}

/// Reads `<device> <inode>`: only the server that made the file knows which one is its own.
pub(crate) fn file(address: &Address, text: &str) -> Option<SocketFile> {
    let (device, inode) = text.trim_end().split_once(' ')?;
    let identity = Identity { device: device.parse().ok()?, inode: inode.parse().ok()? };
    Some(SocketFile { path: PathBuf::from(address.path()?), identity })
}

/// Gives everything to the successor that has asked, and waits until it can serve. An error, and nothing
/// has changed, if it does not come to serve.
pub(crate) fn give(given: &Given<'_>, stream: &UnixStream, patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    let mut descriptors = vec![given.socket, given.control];
    descriptors.extend(given.lock);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    rights.push(SendAncillaryMessage::ScmRights(&descriptors));
    let text = match given.file {
        Some(Identity { device, inode }) => format!("{device} {inode}\n"),
        None => "no file\n".to_owned(),
    };
    let buffers = &[IoSlice::new(text.as_bytes())];
    within(stream, deadline, || {
        Ok(rustix::net::sendmsg(stream, buffers, &mut rights, SendFlags::NOSIGNAL)?)
    })?;
    if let Err(error) = line::expect(stream, &[READY], deadline) {
        let error = in_words(error, || format!("it did not serve within {patience:?}"));
        if error.kind() == io::ErrorKind::TimedOut {
            // For a successor that comes too late.
            let why = format!("its successor did not serve within {patience:?}\n");
            let _ = line::write(stream, &why, deadline);
        }
        return Err(error);
    }
    // If that fails the successor has given up, and does not serve.
    line::write(stream, YOURS, deadline)
}

#[cfg(test)]
mod tests;
