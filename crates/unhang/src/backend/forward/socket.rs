//! The connection to the server behind: of a Unix socket, or of TCP.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

/// The first read of a reply: most replies fit.
const FIRST: usize = 8 * 1024;

/// A connected stream socket: Unix or TCP.
pub(super) trait Socket: AsFd + Send + Sync + 'static {
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send;
    fn try_read_buf(&self, bytes: &mut Vec<u8>) -> io::Result<usize>;
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// The first read of a reply: it also tells the process that wrote, if that can be known.
    fn try_read_first(&self, bytes: &mut Vec<u8>) -> io::Result<(usize, Option<u32>)>;
}

impl Socket for UnixStream {
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send {
        Self::ready(self, interest)
    }

    fn try_read_buf(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        Self::try_read_buf(self, bytes)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }

    fn try_read_first(&self, bytes: &mut Vec<u8>) -> io::Result<(usize, Option<u32>)> {
        let before = bytes.len();
        bytes.resize(before + FIRST, 0);
        let read = self.try_io(Interest::READABLE, || {
            let mut space = nix::cmsg_space!(UnixCredentials);
            let mut into = [IoSliceMut::new(&mut bytes[before..])];
            let message = recvmsg::<()>(
                self.as_raw_fd(),
                &mut into,
                Some(&mut space),
                MsgFlags::MSG_CMSG_CLOEXEC,
            )?;
            let writer = message.cmsgs().ok().and_then(|mut all| {
                all.find_map(|one| match one {
                    ControlMessageOwned::ScmCredentials(writer) => Some(writer.pid()),
                    _ => None,
                })
            });
            // It is 0 for a process that this one's process namespace does not show.
            let writer = writer.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
            Ok((message.bytes, writer))
        });
        bytes.truncate(before + read.as_ref().map_or(0, |(read, _)| *read));
        read
    }
}

impl Socket for TcpStream {
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send {
        Self::ready(self, interest)
    }

    fn try_read_buf(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        Self::try_read_buf(self, bytes)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }

    fn try_read_first(&self, bytes: &mut Vec<u8>) -> io::Result<(usize, Option<u32>)> {
        self.try_read_buf(bytes).map(|read| (read, None))
    }
}

/// Lets each message of the server say which process wrote it (`SO_PASSCRED`, unix(7)). Only once it is
/// connected: before, the kernel would give our end a name, which the server would see.
pub(super) fn learn_writers(stream: &UnixStream) {
    // Without it, the writer is not known.
    let _ = setsockopt(stream, PassCred, &true);
}
