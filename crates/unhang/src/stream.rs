//! The byte stream under an exchange: what an exchange needs of it, and the real one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::handler::Peer;
use crate::peer;

/// What an exchange needs of its stream. A simulated one stands in where time matters.
pub(crate) trait Stream {
    /// Reads at least one byte; 0 says that nothing will follow. Filling less than `buffer` says
    /// that the receive queue has run dry.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes at least one byte.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Tells the peer that nothing will follow.
    fn half_close(&mut self) -> io::Result<()>;

    /// Whether the receive queue holds bytes.
    fn has_unread(&self) -> bool;

    /// Whether the peer has closed, and not only half-closed.
    fn is_hung_up(&self) -> bool;

    /// Who connected.
    fn peer(&self) -> Option<Peer>;

    /// Closes, and never with a reset: throws away what the receive queue still holds, and says how
    /// many bytes that were.
    fn close(self) -> usize;
}

/// A connected Unix stream socket, non-blocking.
///
/// Every call is tried first; only when one would block is the descriptor registered with the
/// runtime. Most exchanges never wait, and registering costs system calls.
#[derive(Debug)]
pub(crate) struct Socket(State);

#[derive(Debug)]
enum State {
    Untried(std::os::unix::net::UnixStream),
    Registered(UnixStream),
    /// It could not be registered, and is closed.
    Lost,
}

impl Socket {
    /// `fd` must be non-blocking.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(State::Untried(fd.into()))
    }

    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.0 {
            State::Untried(socket) => Ok(socket.as_fd()),
            State::Registered(socket) => Ok(socket.as_fd()),
            State::Lost => Err(Errno::BADF.into()),
        }
    }

    fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let result = match &self.0 {
                State::Untried(socket) => call(socket.as_fd()).map_err(Into::into),
                State::Registered(socket) => {
                    if interest.is_readable() {
                        ready!(socket.poll_read_ready(cx))?;
                    } else {
                        ready!(socket.poll_write_ready(cx))?;
                    }
                    socket.try_io(interest, || call(socket.as_fd()).map_err(Into::into))
                }
                State::Lost => Err(Errno::BADF.into()),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.register()?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn register(&mut self) -> io::Result<()> {
        self.0 = match std::mem::replace(&mut self.0, State::Lost) {
            State::Untried(socket) => State::Registered(UnixStream::from_std(socket)?),
            other => other,
        };
        Ok(())
    }
}

impl Stream for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, Interest::READABLE, |fd| {
            Ok(rustix::net::recv(fd, &mut *buffer, RecvFlags::empty())?.1)
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Without NOSIGNAL a vanished client would kill the process that has not ignored SIGPIPE.
        self.poll_io(cx, Interest::WRITABLE, |fd| rustix::net::send(fd, bytes, SendFlags::NOSIGNAL))
    }

    fn half_close(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.fd()?, Shutdown::Write)?)
    }

    fn has_unread(&self) -> bool {
        self.fd().is_ok_and(|fd| rustix::io::ioctl_fionread(fd).is_ok_and(|bytes| bytes > 0))
    }

    fn is_hung_up(&self) -> bool {
        // POLLHUP is reported without being asked for, once both directions are shut: poll(2).
        self.fd().is_ok_and(|fd| {
            let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
            rustix::event::poll(&mut asked, Some(&rustix::event::Timespec::default()))
                .is_ok_and(|_| asked[0].revents().contains(PollFlags::HUP))
        })
    }

    fn peer(&self) -> Option<Peer> {
        peer::of(self.fd().ok()?)
    }

    /// The input is shut off before the rest of it is thrown away, so that nothing can come after
    /// that.
    fn close(self) -> usize {
        let Ok(fd) = self.fd() else { return 0 };
        // Fails only where the client is gone.
        let _ = rustix::net::shutdown(fd, Shutdown::Both);
        let mut rest = [0; 4 * 1024];
        let mut thrown_away = 0;
        while let Ok((_, count @ 1..)) = rustix::net::recv(fd, &mut rest, RecvFlags::DONTWAIT) {
            thrown_away += count;
        }
        thrown_away
    }
}
