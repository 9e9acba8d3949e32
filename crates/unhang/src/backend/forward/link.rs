//! The connection to the server behind: of a Unix socket, or of TCP. The runtime hears of it only once it
//! has to be waited for there: most servers answer and close sooner, and to register it costs more system
//! calls than the exchange itself.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt};
use rustix::buffer::spare_capacity;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// The first read of a reply: most replies fit.
pub(super) const LITTLE: usize = 8 * 1024;

thread_local! {
    /// One buffer for such reads of a thread: to clear one for each would be felt.
    static CHUNK: RefCell<Vec<u8>> = RefCell::new(vec![0; LITTLE]);
}

/// A connected stream socket, non-blocking.
#[derive(Debug)]
pub(super) enum Link {
    /// The runtime does not know of it.
    Unix(OwnedFd),
    WatchedUnix(UnixStream),
    WatchedTcp(TcpStream),
}

impl Link {
    /// Connects at once, or says why that cannot be: if the server's queue is full, as `WouldBlock`.
    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        // A name that begins with @ is an abstract one.
        let name = path.to_str().and_then(|path| path.strip_prefix('@'));
        let address = match name {
            Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
            None => SocketAddrUnix::new(path),
        }?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &address)?;
        // Each message of the server says which process wrote it (`SO_PASSCRED`, unix(7)). Only once it is
        // connected: before, the kernel would give our end a name, which the server would see. Without it,
        // the writer is not known.
        let _ = setsockopt(&socket, PassCred, &true);
        Ok(Self::Unix(socket))
    }

    pub(super) async fn tcp(place: &str) -> io::Result<Self> {
        TcpStream::connect(place).await.map(Self::WatchedTcp)
    }

    /// Has the runtime hear of it.
    pub(super) fn watched(self) -> io::Result<Self> {
        match self {
            Self::Unix(socket) => UnixStream::from_std(socket.into()).map(Self::WatchedUnix),
            watched => Ok(watched),
        }
    }

    /// Waits in the runtime. Only after a call that would have blocked: what is there already may not be
    /// reported.
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<()> {
        // What it is ready for is tried next, and until it would block: the runtime is to forget it.
        let forget = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let forgotten = match self {
            Self::Unix(_) => return Err(io::Error::other("it is not watched")),
            Self::WatchedUnix(socket) => {
                socket.ready(interest).await?;
                socket.try_io(interest, forget)
            }
            Self::WatchedTcp(socket) => {
                socket.ready(interest).await?;
                socket.try_io(interest, forget)
            }
        };
        // It always says so.
        drop(forgotten);
        Ok(())
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self, bytes, SendFlags::NOSIGNAL)?)
    }

    pub(super) fn read(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        Ok(recv(self, spare_capacity(bytes), RecvFlags::empty())?.0)
    }

    /// Reads what is expected to be little: no room is made for what does not come.
    pub(super) fn read_little(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        CHUNK.with_borrow_mut(|chunk| {
            let (read, _) = recv(self, &mut **chunk, RecvFlags::empty())?;
            bytes.extend_from_slice(&chunk[..read]);
            Ok(read)
        })
    }

    /// The first read of a reply: it also tells the process that wrote, if that can be known.
    pub(super) fn read_first(&self, bytes: &mut Vec<u8>) -> io::Result<(usize, Option<u32>)> {
        if let Self::WatchedTcp(_) = self {
            return self.read_little(bytes).map(|read| (read, None));
        }
        CHUNK.with_borrow_mut(|chunk| {
            let (read, writer) = receive(self.as_fd().as_raw_fd(), chunk)?;
            bytes.extend_from_slice(&chunk[..read]);
            Ok((read, writer))
        })
    }

    /// Moves bytes into a pipe: no byte is copied.
    pub(super) fn move_to(&self, pipe: impl AsFd, most: usize) -> io::Result<usize> {
        Ok(splice(self, None, pipe, None, most, SpliceFlags::NONBLOCK)?)
    }
}

fn receive(socket: i32, into: &mut [u8]) -> nix::Result<(usize, Option<u32>)> {
    let mut space = nix::cmsg_space!(UnixCredentials);
    let mut into = [IoSliceMut::new(into)];
    let message = recvmsg::<()>(socket, &mut into, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let writer = message.cmsgs().ok().and_then(|mut all| {
        all.find_map(|one| match one {
            ControlMessageOwned::ScmCredentials(writer) => Some(writer.pid()),
            _ => None,
        })
    });
    // It is 0 for a process that this one's process namespace does not show.
    Ok((message.bytes, writer.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)))
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(socket) => socket.as_fd(),
            Self::WatchedUnix(socket) => socket.as_fd(),
            Self::WatchedTcp(socket) => socket.as_fd(),
        }
    }
}
