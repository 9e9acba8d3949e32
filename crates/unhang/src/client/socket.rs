//! The client's end of a connection: it never blocks, and takes no descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::passed_descriptors::{close_elsewhere, peek, refuse};

/// A socket that no runtime knows: before it is connected, and while it is kept for the next call.
#[derive(Debug)]
pub(super) struct Unregistered {
    /// Always there, but while it is dropped or registered.
    fd: Option<OwnedFd>,
    refuses_descriptors: bool,
}

/// A connected socket, registered with the runtime of the call.
#[derive(Debug)]
pub(super) struct Socket {
    /// Always there, but while it is dropped.
    stream: Option<UnixStream>,
    refuses_descriptors: bool,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes; 0: nothing will follow.
    Bytes(usize),
    /// So many bytes, and a descriptor with the last of them. Nothing more may be read.
    WithDescriptor(usize),
}

impl Unregistered {
    /// `fd` must be a stream socket that does not block and is not connected yet.
    pub(super) fn new(fd: OwnedFd) -> Self {
        // Before it is connected: a descriptor that was passed before that call would not be refused.
        let refuses_descriptors = refuse(&fd);
        Self { fd: Some(fd), refuses_descriptors }
    }

    pub(super) fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.fd.as_ref().map(OwnedFd::as_fd).ok_or(Errno::BADF)
    }

    pub(super) fn registered(mut self) -> io::Result<Socket> {
        let fd = self.fd.take().ok_or(Errno::BADF)?;
        let stream = Some(UnixStream::from_std(fd.into())?);
        Ok(Socket { stream, refuses_descriptors: self.refuses_descriptors })
    }

    /// Whether the server has neither closed it nor said anything that nobody asked for.
    pub(super) fn is_silent(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let look = |fd| rustix::net::recv(fd, &mut [0; 1][..], flags).map(|_| ());
        self.fd().and_then(look) == Err(Errno::AGAIN)
    }
}

impl Drop for Unregistered {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take().filter(|_| !self.refuses_descriptors) {
            close_elsewhere(fd);
        }
    }
}

impl Socket {
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Read>> {
        let refuses_descriptors = self.refuses_descriptors;
        self.poll_io(cx, Interest::READABLE, |fd| {
            if refuses_descriptors {
                return Ok(Read::Bytes(receive(fd, buffer)?));
            }
            let next = peek(fd, buffer)?;
            match next.has_descriptor {
                true => Ok(Read::WithDescriptor(next.bytes)),
                false => Ok(Read::Bytes(receive(fd, &mut buffer[..next.bytes])?)),
            }
        })
    }

    /// Writes at least one byte of those.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Interest::WRITABLE, |fd| {
            // Without NOSIGNAL, a server that is gone would kill a process that does not ignore SIGPIPE.
            Ok(rustix::net::send(fd, bytes, SendFlags::NOSIGNAL)?)
        })
    }

    /// Tells the server that nothing will follow.
    pub(super) fn half_close(&self) -> io::Result<()> {
        let stream = self.stream.as_ref().ok_or(Errno::BADF)?;
        Ok(rustix::net::shutdown(stream, Shutdown::Write)?)
    }

    /// For another call, maybe in another runtime.
    pub(super) fn unregistered(mut self) -> Option<Unregistered> {
        // Fails only if the runtime is gone, and the socket with it.
        let fd = self.stream.take()?.into_std().ok()?.into();
        Some(Unregistered { fd: Some(fd), refuses_descriptors: self.refuses_descriptors })
    }

    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let Some(stream) = &self.stream else { return Poll::Ready(Err(Errno::BADF.into())) };
        loop {
            match interest.is_readable() {
                true => ready!(stream.poll_read_ready(cx))?,
                false => ready!(stream.poll_write_ready(cx))?,
            }
            match stream.try_io(interest, || call(stream.as_fd())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The runtime was wrong, and knows better now.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    Ok(rustix::net::recv(fd, buffer, RecvFlags::empty())?.1)
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.refuses_descriptors {
            return;
        }
        // Fails only if the runtime is gone, and the socket with it.
        if let Some(Ok(stream)) = self.stream.take().map(UnixStream::into_std) {
            close_elsewhere(stream.into());
        }
    }
}
