//! The byte stream under an exchange: what an exchange needs of it, and the real one.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
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

    /// The number of its descriptor, where it has one.
    fn descriptor(&self) -> Option<RawFd> {
        None
    }

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
pub(crate) enum Socket {
    Untried(Arc<Plain>),
    Registered(Arc<Watched>),
    /// It could not be registered, and is closed.
    Lost,
}

/// Shared with whoever may have to end the exchange while its handler blocks the thread, and with
/// the handler, who may ask for the peer.
#[derive(Debug)]
pub(crate) struct Plain {
    socket: std::os::unix::net::UnixStream,
    /// Bytes read.
    read: AtomicUsize,
    /// Whether a read has given anything: bytes, the end, or an error.
    heard: AtomicBool,
    answer: AtomicU8,
}

#[derive(Debug)]
pub(crate) struct Watched(UnixStream);

// Whose the answer is.

/// Nobody has begun to answer.
const OPEN: u8 = 0;
/// The exchange answers.
const BEGUN: u8 = 1;
/// It was taken away from the exchange.
const TAKEN: u8 = 2;

/// The right to end an exchange that is stuck, see [`Stream::lifeline`].
#[derive(Debug)]
pub(crate) struct Lifeline(Arc<Plain>);

impl Socket {
    /// `fd` must be non-blocking.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self::plain(fd.into(), OPEN)
    }

    fn plain(socket: std::os::unix::net::UnixStream, answer: u8) -> Self {
        let (read, heard) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self::Untried(Arc::new(Plain { socket, read, heard, answer: AtomicU8::new(answer) }))
    }

    fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Untried(plain) => Ok(plain.socket.as_fd()),
            Self::Registered(watched) => Ok(watched.0.as_fd()),
            Self::Lost => Err(Errno::BADF.into()),
        }
    }

    fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut yielded = false;
        loop {
            let result = match self {
                Self::Untried(plain) => call(plain.socket.as_fd()).map_err(Into::into),
                Self::Registered(watched) => {
                    let socket = &watched.0;
                    if interest.is_readable() {
                        ready!(socket.poll_read_ready(cx))?;
                    } else {
                        ready!(socket.poll_write_ready(cx))?;
                    }
                    socket.try_io(interest, || call(socket.as_fd()).map_err(Into::into))
                }
                Self::Lost => Err(Errno::BADF.into()),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !is_attempt() {
                        self.register()?;
                    } else if interest.is_readable() && !std::mem::replace(&mut yielded, true) {
                        // connect() has woken us before the client had the time to write. Let it:
                        // that costs less than to wait for it.
                        std::thread::yield_now();
                    } else {
                        return Poll::Pending;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Where the kernel has no room for it, the client is still to be told so: the runtime closes
    /// what it cannot register, so there is a second descriptor meanwhile.
    fn register(&mut self) -> io::Result<()> {
        let Self::Untried(plain) = self else { return Ok(()) };
        let (second, answer) = (plain.socket.try_clone(), plain.answer.load(Ordering::Relaxed));
        let Self::Untried(plain) = std::mem::replace(self, Self::Lost) else { return Ok(()) };
        let mut shared = Arc::try_unwrap(plain);
        while let Err(plain) = shared {
            // Somebody asks who the peer is, which takes one system call. A lifeline is held only
            // during an attempt, and in an attempt nothing is registered.
            std::thread::yield_now();
            shared = Arc::try_unwrap(plain);
        }
        let Ok(plain) = shared else { return Ok(()) };
        match UnixStream::from_std(plain.socket) {
            Ok(registered) => {
                *self = Self::Registered(Arc::new(Watched(registered)));
                Ok(())
            }
            Err(error) => {
                if let Ok(second) = second {
                    *self = Self::plain(second, answer);
                }
                Err(error)
            }
        }
    }

    /// Whether the exchange may answer: not once it was taken away from it.
    fn may_answer(&self) -> bool {
        let Self::Untried(plain) = self else { return true };
        match plain.answer.load(Ordering::Relaxed) {
            BEGUN => true,
            OPEN => plain.take(BEGUN),
            _ => false,
        }
    }
}

impl Plain {
    /// Whether the answer is now whose it was wanted to be.
    fn take(&self, whose: u8) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        self.answer.compare_exchange(OPEN, whose, success, failure).is_ok()
    }
}

impl Stream for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(self.poll_io(cx, Interest::READABLE, |fd| {
            Ok(rustix::net::recv(fd, &mut *buffer, RecvFlags::empty())?.1)
        }));
        if let Self::Untried(plain) = &*self {
            plain.heard.store(true, Ordering::Relaxed);
            let before = plain.read.load(Ordering::Relaxed);
            plain.read.store(before + read.as_ref().unwrap_or(&0), Ordering::Relaxed);
        }
        Poll::Ready(read)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.may_answer() {
            return Poll::Ready(Err(Errno::BADF.into()));
        }
        // Without NOSIGNAL a vanished client would kill the process that has not ignored SIGPIPE.
        self.poll_io(cx, Interest::WRITABLE, |fd| rustix::net::send(fd, bytes, SendFlags::NOSIGNAL))
    }

    fn half_close(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.fd()?, Shutdown::Write)?)
    }

    fn has_unread(&self) -> bool {
        let unread = |fd| rustix::io::ioctl_fionread(fd).is_ok_and(|bytes| bytes > 0);
        self.fd().is_ok_and(unread)
    }

    fn is_hung_up(&self) -> bool {
        // POLLHUP is reported without being asked for, once both directions are shut: poll(2).
        self.fd().is_ok_and(|fd| {
            let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
            rustix::event::poll(&mut asked, Some(&rustix::event::Timespec::default()))
                .is_ok_and(|_| asked[0].revents().contains(PollFlags::HUP))
        })
    }

    fn descriptor(&self) -> Option<RawFd> {
        self.fd().ok().map(|fd| fd.as_raw_fd())
    }

    fn peer(&self) -> Option<Peer> {
        peer::of(self.fd().ok()?)
    }

    fn caller(&self) -> Caller {
        match self {
            Self::Untried(plain) => Caller::connected(plain),
            Self::Registered(watched) => Caller::connected(watched),
            Self::Lost => Caller::Unknown,
        }
    }

    fn lifeline(&self) -> Option<Lifeline> {
        let Self::Untried(plain) = self else { return None };
        Some(Lifeline(Arc::clone(plain)))
    }

    fn close(self) -> usize {
        self.fd().map_or(0, shut)
    }
}

/// Ends both directions. The input is shut off before the rest of it is thrown away, so that nothing
/// can come after that, and the close resets nobody. How many bytes that were.
fn shut(fd: BorrowedFd<'_>) -> usize {
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

impl Connected for Plain {
    fn peer(&self) -> Option<Peer> {
        peer::of(self.socket.as_fd())
    }
}

impl Connected for Watched {
    fn peer(&self) -> Option<Peer> {
        peer::of(self.0.as_fd())
    }
}

impl Lifeline {
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.socket.as_raw_fd()
    }

    /// Takes the connection away from an exchange that has not begun to answer.
    pub(crate) fn take(&self) -> Option<Rescued> {
        self.0.take(TAKEN).then(|| Rescued(Arc::clone(&self.0)))
    }

    /// The connection alone, where its exchange has seen nothing of it, and is not needed for it.
    pub(crate) fn silent(self) -> Option<Silent> {
        (!self.0.heard.load(Ordering::Relaxed)).then(|| Silent(self.0))
    }
}

/// A connection from which nothing has been read.
pub(crate) struct Silent(Arc<Plain>);

impl Silent {
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.socket.as_raw_fd()
    }
}

impl AsFd for Silent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

impl From<Silent> for Socket {
    fn from(silent: Silent) -> Self {
        Self::Untried(silent.0)
    }
}

/// A connection that was taken away from its exchange, which still holds its descriptor.
pub(crate) struct Rescued(Arc<Plain>);

impl Rescued {
    /// What had been read of it.
    pub(crate) fn bytes_in(&self) -> usize {
        self.0.read.load(Ordering::Relaxed)
    }

    pub(crate) fn peer(&self) -> Option<Peer> {
        self.0.peer()
    }

    /// Writes what goes into the client's queue at once, and ends both directions. How many bytes
    /// were thrown away, and how many written.
    pub(crate) fn end(&self, word: &[u8]) -> (usize, usize) {
        let fd = self.0.socket.as_fd();
        let written = rustix::net::send(fd, word, SendFlags::NOSIGNAL).unwrap_or(0);
        (shut(fd), written)
    }
}
