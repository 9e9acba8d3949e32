//! A client's end of a connection, which no server holds up by what it passes along with its bytes.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use unhang::passed_descriptors::{close_elsewhere, peek, refuse};

#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    /// Whether the kernel keeps descriptors away from it that the server passes: see
    /// [`unhang::passed_descriptors`].
    refuses_descriptors: bool,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes; 0: nothing will follow.
    Bytes(usize),
    /// There is a descriptor with the next bytes. They may not be read.
    Descriptor,
}

impl Connection {
    /// Before it is connected.
    pub(crate) fn to_unix_socket(socket: OwnedFd) -> Self {
        let refuses_descriptors = refuse(&socket);
        Self { socket, refuses_descriptors }
    }

    pub(crate) fn over_tcp(socket: OwnedFd) -> Self {
        // Nothing can be passed over TCP.
        Self { socket, refuses_descriptors: true }
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<Read, Errno> {
        let mut length = buffer.len();
        if !self.refuses_descriptors {
            let next = peek(self, buffer)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            if next.has_descriptor {
                return Ok(Read::Descriptor);
            }
            length = next.bytes;
        }
        let (count, _) = recv(self, &mut buffer[..length], RecvFlags::empty())?;
        Ok(Read::Bytes(count))
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&*self, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.refuses_descriptors {
            return;
        }
        // Something has to be there that is closed in its place.
        if let Ok(another) = eventfd(0, EventfdFlags::CLOEXEC) {
            close_elsewhere(std::mem::replace(&mut self.socket, another));
        }
    }
}
