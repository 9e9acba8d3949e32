//! The byte stream under an exchange: what an exchange needs of it, and the real one.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::attempt::is_attempt;
use crate::handler::{Caller, Connected, Peer};
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

    /// Who connected, for a handler that may want to know.
    fn caller(&self) -> Caller;

    /// A way to end the exchange from another thread, where there is one.
    fn lifeline(&self) -> Option<Lifeline> {
        None
    }

    /// Closes, and never with a reset: throws away what the receive queue still holds, and says how
    /// many bytes that were.
    fn close(self) -> usize;
}

/// A connected Unix stream socket, non-blocking.
///
/// Every call is tried first; only when one would block, and its caller is going to wait, is the
/// descriptor registered with the runtime. Most exchanges never wait, and registering costs system
/// calls.
#[derive(Debug)]
pub(crate) struct Socket(Arc<Shared>);

/// Shared with whoever may have to end the exchange while its handler blocks the thread, and with
/// the handler, who may ask for the peer.
#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    fd: Fd,
    /// Bytes read.
    read: usize,
    /// Whether a first byte has been written, or was about to be.
    answering: bool,
}

#[derive(Debug)]
enum Fd {
    Untried(std::os::unix::net::UnixStream),
    Registered(UnixStream),
    Closed,
}

/// The right to end an exchange that is stuck, see [`Stream::lifeline`].
#[derive(Debug)]
pub(crate) struct Lifeline(Arc<Shared>);

impl Socket {
    /// `fd` must be non-blocking.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let state = State { fd: Fd::Untried(fd.into()), read: 0, answering: false };
        Self(Arc::new(Shared(Mutex::new(state))))
    }

    fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.state();
        if interest.is_writable() {
            state.answering = true;
        }
        let mut yielded = false;
        loop {
            let result = match &state.fd {
                Fd::Untried(socket) => call(socket.as_fd()).map_err(Into::into),
                Fd::Registered(socket) => {
                    if interest.is_readable() {
                        ready!(socket.poll_read_ready(cx))?;
                    } else {
                        ready!(socket.poll_write_ready(cx))?;
                    }
                    socket.try_io(interest, || call(socket.as_fd()).map_err(Into::into))
                }
                Fd::Closed => Err(Errno::BADF.into()),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !is_attempt() {
                        state.fd.register()?;
                    } else if interest.is_readable() && !std::mem::replace(&mut yielded, true) {
                        // connect() has woken us before the client had the time to write. Let it:
                        // that costs less than to wait for it.
                        std::thread::yield_now();
                    } else {
                        return Poll::Pending;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => {
                    if let (Ok(bytes), true) = (&done, interest.is_readable()) {
                        state.read += bytes;
                    }
                    return Poll::Ready(done);
                }
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic leaves nothing half-done in there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fd {
    fn borrow(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Untried(socket) => Ok(socket.as_fd()),
            Self::Registered(socket) => Ok(socket.as_fd()),
            Self::Closed => Err(Errno::BADF.into()),
        }
    }

    /// Where the kernel has no room for it, the client is still to be told so: the runtime closes
    /// what it cannot register, so it is given a second descriptor's worth of time.
    fn register(&mut self) -> io::Result<()> {
        let Self::Untried(socket) = self else { return Ok(()) };
        let second = socket.try_clone();
        let Self::Untried(socket) = std::mem::replace(self, Self::Closed) else { return Ok(()) };
        match UnixStream::from_std(socket) {
            Ok(registered) => *self = Self::Registered(registered),
            Err(error) => {
                if let Ok(second) = second {
                    *self = Self::Untried(second);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn is_hung_up(&self) -> bool {
        // POLLHUP is reported without being asked for, once both directions are shut: poll(2).
        self.borrow().is_ok_and(|fd| {
            let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
            rustix::event::poll(&mut asked, Some(&rustix::event::Timespec::default()))
                .is_ok_and(|_| asked[0].revents().contains(PollFlags::HUP))
        })
    }

    /// The input is shut off before the rest of it is thrown away, so that nothing can come after
    /// that.
    fn close(&mut self) -> usize {
        let this = std::mem::replace(self, Self::Closed);
        let Ok(fd) = this.borrow() else { return 0 };
        // Fails only where the client is gone.
        let _ = rustix::net::shutdown(fd, Shutdown::Both);
        // Not written to but by the kernel: clearing it for each would be felt.
        let mut rest = [MaybeUninit::<u8>::uninit(); 4 * 1024];
        let mut thrown_away = 0;
        while let Ok((_, count @ 1..)) = rustix::net::recv(fd, &mut rest[..], RecvFlags::DONTWAIT) {
            thrown_away += count;
        }
        thrown_away
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
        Ok(rustix::net::shutdown(self.0.state().fd.borrow()?, Shutdown::Write)?)
    }

    fn has_unread(&self) -> bool {
        let unread = |fd| rustix::io::ioctl_fionread(fd).is_ok_and(|bytes| bytes > 0);
        self.0.state().fd.borrow().is_ok_and(unread)
    }

    fn is_hung_up(&self) -> bool {
        self.0.state().fd.is_hung_up()
    }

    fn peer(&self) -> Option<Peer> {
        self.0.peer()
    }

    fn caller(&self) -> Caller {
        let shared = Arc::downgrade(&self.0);
        Caller::Connected(shared as Weak<dyn Connected>)
    }

    fn lifeline(&self) -> Option<Lifeline> {
        Some(Lifeline(Arc::clone(&self.0)))
    }

    fn close(self) -> usize {
        self.0.state().fd.close()
    }
}

impl Connected for Shared {
    fn peer(&self) -> Option<Peer> {
        peer::of(self.state().fd.borrow().ok()?)
    }
}

/// Closed with it, whoever still holds on to what is shared: a handler that blocks, say.
impl Drop for Socket {
    fn drop(&mut self) {
        self.0.state().fd = Fd::Closed;
    }
}

impl Lifeline {
    /// Takes the connection away from an exchange that has not begun to answer.
    pub(crate) fn take(&self) -> Option<Rescued> {
        let mut state = self.0.state();
        if state.answering || matches!(state.fd, Fd::Closed) {
            return None;
        }
        let fd = std::mem::replace(&mut state.fd, Fd::Closed);
        let rescued = State { fd, read: state.read, answering: false };
        Some(Rescued {
            bytes_in: state.read,
            socket: Socket(Arc::new(Shared(Mutex::new(rescued)))),
        })
    }
}

/// A connection that was taken away from its exchange.
pub(crate) struct Rescued {
    pub(crate) socket: Socket,
    /// What had been read of it.
    pub(crate) bytes_in: usize,
}
