//! The bytes under a connection: what an exchange needs of them, and the real ones. Nothing here waits.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use crate::handler::{Caller, Connected, Peer};
use crate::passed_descriptors::{self, Peeked};
use crate::peer::{self, awake::Awake};

/// What a connection needs of its stream. A simulated one stands in where time matters.
pub(crate) trait Stream: Send + 'static {
    /// Reads at least one byte; 0 says that nothing will follow. Filling less than `into` says that the
    /// receive queue has run dry.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// The same, and the bytes stay in the receive queue.
    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes at least one byte.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Moves at least one byte out of a pipe, and up to so many. `Unsupported` where bytes can only be written.
    #[cfg(feature = "forward")]
    fn move_from(&mut self, _pipe: BorrowedFd<'_>, _most: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Tells the peer that nothing will follow. False if it could not be told.
    fn half_close(&mut self) -> bool;

    /// Has the peer's next write fail. The bytes that came before can still be read, then the end.
    fn shut_input(&mut self);

    /// How many bytes lie in the receive queue.
    fn unread(&self) -> usize;

    /// Whether the peer has half-closed, or closed.
    fn input_ended(&self) -> bool;

    /// Whether the peer has closed, and not only half-closed.
    fn is_hung_up(&self) -> bool;

    /// The process that connected.
    fn peer(&self) -> Option<Peer>;

    /// The threads of that process that do not sleep.
    fn peer_awake(&self) -> Option<Awake>;

    /// The process that connected, for a handler that may want to know.
    fn caller(&self) -> Caller;

    /// The number of its descriptor, if it has one.
    fn descriptor(&self) -> Option<RawFd>;

    /// Whether the client has passed a descriptor, see [`PASSED`].
    fn has_passed(&self) -> bool;

    /// Closes the stream of such a client on a thread that nobody waits for.
    fn close_elsewhere(self);

    /// Ends both directions, and never with a reset: throws away what the receive queue still holds, and
    /// says how many bytes that were.
    fn shut(&mut self) -> usize;
}

/// What a connection waits for at its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    /// The same, and reported each time, until it is watched for something else.
    EachRead,
    Write,
    Nothing,
}

/// A client has passed a descriptor (`SCM_RIGHTS`) along with its bytes. No thread that serves may read
/// them: the kernel would close the descriptor there, and for a TCP socket with `SO_LINGER` that takes as
/// long as its sender likes.
pub(crate) const PASSED: Errno = Errno::BADMSG;

/// A connected Unix stream socket, non-blocking.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Shared with a handler that may ask for the peer.
    shared: Arc<Shared>,
    /// Whether a client could pass descriptors: on kernels before Linux 6.16, and through a listener that
    /// could be connected to before that was forbidden. Then each read has to look first.
    looks_first: bool,
    has_passed: bool,
}

#[derive(Debug)]
struct Shared(OwnedFd);

impl Socket {
    /// `fd` must be non-blocking.
    pub(crate) fn new(fd: OwnedFd, looks_first: bool) -> Self {
        Self { shared: Arc::new(Shared(fd)), looks_first, has_passed: false }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.shared.0.as_fd()
    }

    fn is_now(&self, state: PollFlags) -> bool {
        let mut asked = [PollFd::from_borrowed_fd(self.fd(), state)];
        rustix::event::poll(&mut asked, Some(&Timespec::default()))
            .is_ok_and(|_| asked[0].revents().intersects(state))
    }

    fn look(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Peeked { bytes, has_descriptor } = passed_descriptors::peek(self.fd(), into)?;
        self.has_passed |= has_descriptor;
        if self.has_passed { Err(PASSED.into()) } else { Ok(bytes) }
    }
}

/// A signal only interrupts.
fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done.map_err(Into::into),
        }
    }
}

impl Stream for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut most = into.len();
        if self.looks_first {
            // No more than was looked at: what comes meanwhile may carry one.
            most = self.look(into)?;
        }
        again(|| Ok(rustix::net::recv(self.fd(), &mut into[..most], RecvFlags::empty())?.1))
    }

    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.looks_first {
            return self.look(into);
        }
        again(|| Ok(rustix::net::recv(self.fd(), &mut *into, RecvFlags::PEEK)?.1))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Without NOSIGNAL a vanished client would kill the process that has not ignored SIGPIPE.
        again(|| rustix::net::send(self.fd(), bytes, SendFlags::NOSIGNAL))
    }

    #[cfg(feature = "forward")]
    fn move_from(&mut self, pipe: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        use rustix::pipe::{SpliceFlags, splice};
        match again(|| splice(pipe, None, self.fd(), None, most, SpliceFlags::NONBLOCK)) {
            // A kernel without it (gVisor's, say).
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Err(io::ErrorKind::Unsupported.into())
            }
            moved => moved,
        }
    }

    fn half_close(&mut self) -> bool {
        rustix::net::shutdown(self.fd(), Shutdown::Write).is_ok()
    }

    fn shut_input(&mut self) {
        // Fails only if the client is gone.
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Read);
    }

    fn unread(&self) -> usize {
        let bytes = rustix::io::ioctl_fionread(self.fd()).unwrap_or(0);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn input_ended(&self) -> bool {
        self.is_now(PollFlags::RDHUP)
    }

    fn is_hung_up(&self) -> bool {
        // POLLHUP is reported without being asked for, once both directions are shut: poll(2).
        self.is_now(PollFlags::HUP)
    }

    fn peer(&self) -> Option<Peer> {
        peer::of(self.fd())
    }

    fn peer_awake(&self) -> Option<Awake> {
        Awake::of(self.peer()?.pid)
    }

    fn caller(&self) -> Caller {
        Caller::connected(&self.shared)
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.fd().as_raw_fd())
    }

    fn has_passed(&self) -> bool {
        self.has_passed
    }

    fn close_elsewhere(self) {
        // A handler that asks for the peer just now closes it, on its own thread.
        if let Some(shared) = Arc::into_inner(self.shared) {
            passed_descriptors::close_elsewhere(shared.0);
        }
    }

    fn shut(&mut self) -> usize {
        // The input is shut off before the rest of it is thrown away, so that nothing can come after
        // that, and the close resets nobody. Fails only if the client is gone.
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Both);
        if self.looks_first {
            let mut rest = [0; 4 * 1024];
            let mut thrown_away = 0;
            while let Ok(count @ 1..) = self.read(&mut rest) {
                thrown_away += count;
            }
            return thrown_away;
        }
        // Not written to but by the kernel: clearing it for each would be felt.
        let mut rest = [MaybeUninit::<u8>::uninit(); 4 * 1024];
        let room = rest.len();
        let mut thrown_away = 0;
        while let Ok((_, count @ 1..)) =
            rustix::net::recv(self.fd(), &mut rest[..], RecvFlags::DONTWAIT)
        {
            thrown_away += count;
            if count < room {
                break;
            }
        }
        thrown_away
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

impl Connected for Shared {
    fn peer(&self) -> Option<Peer> {
        peer::of(self.0.as_fd())
    }
}
