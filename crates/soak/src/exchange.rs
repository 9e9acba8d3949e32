//! One exchange as its client sees it, with a watchdog of its own: no call blocks for longer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::passing;
use crate::service::{DRAIN, HANDLER, LINGER, QUEUE, READ, WRITE};

/// After that a client counts as hung: every deadline that can apply, and what a busy machine, or
/// a server that is stopped for a while, may add.
pub(crate) const PATIENCE: Duration = QUEUE
    .saturating_add(READ)
    .saturating_add(HANDLER)
    .saturating_add(WRITE)
    .saturating_add(LINGER)
    .saturating_add(DRAIN)
    .saturating_add(Duration::from_secs(8));

pub(crate) struct Exchange {
    stream: UnixStream,
    pub(crate) begun: Instant,
    pub(crate) sent: usize,
    pub(crate) got: Vec<u8>,
    closed: Option<Instant>,
}

/// How it ended for the client.
pub(crate) enum End {
    /// The server closed.
    Closed,
    /// The client did, and waited for nothing.
    Left,
    Lost(io::Error),
    Hung,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the close"),
            Self::Left => f.write_str("it left"),
            Self::Lost(error) => write!(f, "{error}"),
            Self::Hung => f.write_str("nothing"),
        }
    }
}

impl Exchange {
    /// Connects without waiting: a full accept queue is an error, and no queue here gets full.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        Ok(Self { stream, begun: Instant::now(), sent: 0, got: Vec::new(), closed: None })
    }

    /// What is left of its patience; at least a moment, as zero would mean for ever.
    fn left(&self) -> Duration {
        PATIENCE.saturating_sub(self.begun.elapsed()).max(Duration::from_millis(1))
    }

    /// Writes it all, unless the server has closed, which the reader will see.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            // Fails only for zero.
            let _ = self.stream.set_write_timeout(Some(self.left()));
            match self.stream.write(bytes) {
                Ok(count) => {
                    self.sent += count;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Writes this one byte with a descriptor. Whether the kernel took both.
    pub(crate) fn pass(&mut self, byte: &[u8], passed: impl AsFd) -> bool {
        let is_passed = passing::pass(&self.stream, byte, passed.as_fd());
        self.sent += usize::from(is_passed);
        is_passed
    }

    /// Reads at most so many bytes, of which it keeps none.
    pub(crate) fn read_some(&mut self, most: usize) {
        let _ = self.stream.set_read_timeout(Some(self.left()));
        let mut buffer = vec![0; most];
        // A server that has ended, or that does not answer, is left all the same.
        let _ = self.stream.read(&mut buffer);
    }

    pub(crate) fn half_close(&self) {
        // Fails if the server has closed, which the reader will see.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads to the end, with a pause after every so many bytes until it has paused that often.
    pub(crate) fn read(&mut self, chunk: usize, pause: Duration, mut pauses: u32) -> End {
        let mut buffer = vec![0; chunk];
        loop {
            let _ = self.stream.set_read_timeout(Some(self.left()));
            match self.stream.read(&mut buffer) {
                Ok(0) => return End::Closed,
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return End::Hung,
                Err(error) => return End::Lost(error),
            }
            if pauses > 0 {
                std::thread::sleep(pause);
                pauses -= 1;
            } else if buffer.len() < 64 * 1024 {
                buffer.resize(64 * 1024, 0);
            }
        }
    }

    pub(crate) fn read_to_end(&mut self) -> End {
        self.read(64 * 1024, Duration::ZERO, 0)
    }

    /// Waits until the server has closed or half-closed, or for that long. Reads nothing.
    pub(crate) fn wait_for_close(&self, longest: Duration) -> bool {
        let longest = longest.min(self.left());
        let Ok(longest) = Timespec::try_from(longest) else { return false };
        let mut asked = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        rustix::event::poll(&mut asked, Some(&longest)).is_ok_and(|ready| ready > 0)
    }

    /// Notes that the end has come: what the client does after that is no time of the server's.
    pub(crate) fn has_closed(&mut self) {
        self.closed = Some(Instant::now());
    }

    pub(crate) fn took(&self) -> Duration {
        self.closed.unwrap_or_else(Instant::now) - self.begun
    }

    pub(crate) fn is_late(&self) -> bool {
        self.begun.elapsed() >= PATIENCE
    }
}
