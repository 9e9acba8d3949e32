//! Replacing a running server: it hands its listening descriptor over, so that the socket's file,
//! its queue and its clients stay where they are.
//!
//! The successor connects to `PATH.ctl` and asks; it gets the listener, the control socket and the
//! lock (`SCM_RIGHTS`, unix(7)); once it can serve, it says so; the old server answers that it has left
//! it all, and drains. Until then the old one goes on as if nothing had been asked, and the new one
//! does not serve: whichever of two that share a listener ends first closes it for both.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
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
use crate::listen::control::{ASK, Control};
use crate::listen::dialog::{self, in_words, within};
use crate::listen::file::{Identity, SocketFile};

/// What it says when it can serve.
const READY: &str = "ready\n";

/// What the other answers that has left it all. Whatever else it says is why it goes on; and where it
/// says nothing, it is gone.
const YOURS: &str = "yours\n";

/// How long either side waits for the other, in all. It takes microseconds; a successor that reads
/// its own configuration in between may take seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before a server is asked again: whoever ended while it was asked is gone in a moment.
const AGAIN: Duration = Duration::from_millis(10);

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

impl Predecessor {
    /// Says that this one can serve, and waits until the other has left it everything. An error where
    /// that one goes on.
    pub(crate) fn take_leave(&self, address: &Address) -> Result<(), Error> {
        self.take_leave_within(address, PATIENCE)
    }

    fn take_leave_within(&self, address: &Address, patience: Duration) -> Result<(), Error> {
        let stream = &self.0;
        let deadline = Instant::now() + patience;
        // Where it has given this one up, or is gone, what it said before is still to be read.
        let _ = dialog::write(stream, READY, deadline);
        let mut word = dialog::read_line(stream, deadline);
        let late = matches!(&word, Err(error) if error.kind() == io::ErrorKind::TimedOut);
        if late {
            // From here on it cannot say it any more, and goes on; or it has just done so.
            let _ = stream.shutdown(Shutdown::Read);
            word = dialog::read_line(stream, deadline);
        }
        match word.unwrap_or_default() {
            word if word == YOURS.as_bytes() => Ok(()),
            word if word.is_empty() && late => {
                Err(Error::new(address, ErrorKind::NotHandedOver { waited: patience }))
            }
            // It has died, and this one has all that it had. So it may be with one that is older than
            // this answer, and has left.
            word if word.is_empty() => Ok(()),
            word => {
                let why = String::from_utf8_lossy(&word).trim_end().to_owned();
                Err(Error::new(address, ErrorKind::NotReplaced { why }))
            }
        }
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
    let estate = Estate {
        socket,
        file: file(address, &text),
        control: Some(Control::of_another(control_socket, control)),
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

/// Gives everything to whoever has asked, and waits until it can serve. An error, and nothing has
/// changed, when it cannot.
pub(crate) fn give(estate: &Estate, stream: &UnixStream, patience: Duration) -> io::Result<()> {
    let Some(control) = &estate.control else { return Err(Errno::BADF.into()) };
    let deadline = Instant::now() + patience;
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
    if let Err(error) = dialog::expect(stream, &[READY], deadline) {
        let error = in_words(error, || format!("it did not serve within {patience:?}"));
        if error.kind() == io::ErrorKind::TimedOut {
            // For the one that comes too late.
            let why = format!("its successor did not serve within {patience:?}\n");
            let _ = dialog::write(stream, &why, deadline);
        }
        return Err(error);
    }
    // Where that fails it has given up, and does not serve.
    dialog::write(stream, YOURS, deadline)
}

#[cfg(test)]
mod tests;
