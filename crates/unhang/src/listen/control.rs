//! Where a server is asked: for all that it has, or whom it waits for.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::net::SendFlags;

use crate::listen::address::{Address, CONTROL};
use crate::listen::dialog::{self, in_words};
use crate::listen::file::{self, Identity, SocketFile};

/// What the successor asks, with the version of what follows.
pub(crate) const ASK: &str = "unhang replace 1\n";

/// What somebody asks who only wants to know whom the server waits for, with the version of the
/// answer: where a request ends (`until newline`), and the lines of
/// [`InFlight`](crate::in_flight::InFlight::lines).
const ASK_IN_FLIGHT: &str = "unhang in-flight 1\n";

/// How long whoever has connected may take to ask. All who do ask at once; one that does not holds up
/// those behind it, and the end of the server.
const TO_ASK: Duration = Duration::from_secs(1);

/// Nobody but the same user, and root, may ask; and nobody else can connect.
pub(crate) const MODE: u32 = 0o600;

/// A second socket, beside the first.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) socket: OwnedFd,
    file: Option<SocketFile>,
}

impl Control {
    /// `None` where there can be none: the name is too long for the four bytes more, or taken by
    /// something that is not a socket. Then this server cannot be replaced, but serves.
    pub(crate) fn new(address: &Address) -> Option<Self> {
        let address = address.control()?;
        if let Some(path) = address.path() {
            file::make_way(&address, path).ok()?;
        }
        let (socket, file) = file::bind(&address, MODE).ok()?;
        rustix::net::listen(&socket, 1).ok()?;
        Some(Self { socket, file })
    }

    /// Why a server at this address, which nobody answers for, cannot be replaced.
    pub(crate) fn missing(server: &Address) -> String {
        let Some(address) = server.control() else {
            let (bytes, most) = (server.bytes(), Address::LONGEST_REPLACEABLE);
            return format!(
                "its name has {bytes} bytes, and up to {most} leave room for {CONTROL}"
            );
        };
        match address.path().map(fs::symlink_metadata) {
            Some(Ok(file)) if !file.file_type().is_socket() => {
                format!("{address} is {}", file::describe(file.file_type()))
            }
            _ => format!("nobody listens at {address}"),
        }
    }

    /// One that another server has made.
    pub(crate) fn of_another(socket: OwnedFd, address: &Address) -> Self {
        let file = address.path().and_then(|path| {
            Some(SocketFile { path: path.to_path_buf(), identity: Identity::of(path).ok()? })
        });
        Self { socket, file }
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
