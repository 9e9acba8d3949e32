//! What the kernel knows of every Unix socket: `NETLINK_SOCK_DIAG`, asked by hand. Any user may ask.

mod message;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

#[cfg(test)]
pub(crate) use message::Peer;
use message::{AF_UNIX, Progress, SOCK_DIAG_BY_FAMILY};
pub(crate) use message::{FileId, Kind, LEFT, Socket, State};

/// Every Unix socket of this thread's network namespace.
pub(crate) fn dump() -> io::Result<Vec<Socket>> {
    Diag::open()?.dump()
}

/// A way to ask the kernel. It tells of the network namespace that this was opened in.
#[derive(Debug)]
pub(crate) struct Diag(OwnedFd);

impl Diag {
    pub(crate) fn open() -> io::Result<Self> {
        let kind = SocketType::RAW;
        let flags = SocketFlags::CLOEXEC;
        let protocol = Some(netlink::SOCK_DIAG);
        Ok(Self(net::socket_with(AddressFamily::NETLINK, kind, flags, protocol)?))
    }

    /// The queues are asked for apart: at one of more clients than fit a message, some eight thousand,
    /// the kernel ends a dump without a word. They come first, so that the clients are known then.
    fn dump(&self) -> io::Result<Vec<Socket>> {
        let queues = self.rows(LISTENING, SHOW_PENDING)?;
        let mut queues: HashMap<_, _> =
            queues.into_iter().map(|one| (one.cookie, one.pending)).collect();
        let mut sockets = self.rows(EVERY_STATE, SHOW_ALL)?;
        let listens = |one: &&mut Socket| one.state == State::Listening && one.unread > 0;
        for listener in sockets.iter_mut().filter(listens) {
            listener.pending = queues.remove(&listener.cookie).unwrap_or_default();
            if listener.pending.is_empty() {
                self.ask_again(listener);
            }
        }
        Ok(sockets)
    }

    /// A queue that the dump did not come to. Alone, it is told up to a thousand clients.
    fn ask_again(&self, listener: &mut Socket) {
        let now = self.one(listener.inode, SHOW_PENDING | SHOW_QUEUES);
        if let Some(now) = now.ok().filter(|now| now.cookie == listener.cookie) {
            (listener.pending, listener.unread) = (now.pending, now.unread);
        }
    }

    fn rows(&self, states: u32, show: u32) -> io::Result<Vec<Socket>> {
        let request = request(REQUEST_AND_DUMP, 0, states, show);
        net::send(&self.0, &request, SendFlags::empty())?;
        let mut sockets = Vec::new();
        let mut buffer = vec![0; RECEIVE];
        loop {
            match self.receive(&mut buffer, RecvFlags::empty(), &mut sockets)? {
                Progress::More => {}
                Progress::Done => return Ok(sockets),
                Progress::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }

    /// The listeners, with their names.
    pub(crate) fn listeners(&self) -> io::Result<Vec<Socket>> {
        self.rows(LISTENING, SHOW_NAME)
    }

    /// All that there is of one socket.
    pub(crate) fn socket(&self, inode: u32) -> io::Result<Socket> {
        self.one(inode, SHOW_ALL)
    }

    /// The queues of one socket, and no more of it.
    pub(crate) fn queues(&self, inode: u32) -> io::Result<Socket> {
        self.one(inode, SHOW_QUEUES)
    }

    /// Does not wait: the kernel has answered before the request returns.
    fn one(&self, inode: u32, show: u32) -> io::Result<Socket> {
        let request = request(REQUEST, inode, EVERY_STATE, show);
        net::send(&self.0, &request, SendFlags::empty())?;
        let mut sockets = Vec::new();
        let mut buffer = vec![0; RECEIVE_ONE];
        let answer = self.receive(&mut buffer, RecvFlags::DONTWAIT, &mut sockets)?;
        match (answer, sockets.pop()) {
            (Progress::Refused(errno), _) => Err(io::Error::from_raw_os_error(errno)),
            (_, Some(socket)) if socket.inode == inode => Ok(socket),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn receive(
        &self,
        buffer: &mut [u8],
        flags: RecvFlags,
        sockets: &mut Vec<Socket>,
    ) -> io::Result<Progress> {
        let (taken, length) = net::recv(&self.0, &mut *buffer, flags | RecvFlags::TRUNC)?;
        if length > taken {
            return Err(io::Error::other("the kernel's answer does not fit the buffer"));
        }
        match message::parse(&buffer[..taken], sockets) {
            // Nothing but the end has no bytes.
            Progress::More if taken == 0 => Ok(Progress::Done),
            progress => Ok(progress),
        }
    }
}

/// The kernel fills at most 32 KiB at a time.
const RECEIVE: usize = 64 * 1024;
/// Two headers, and attributes of a page at most.
const RECEIVE_ONE: usize = 8 * 1024;

const REQUEST: u16 = 0x1;
const REQUEST_AND_DUMP: u16 = 0x301;
/// Name, file, peer, queues, memory and owner: all that there is, but for the pending clients.
const SHOW_ALL: u32 = 0x77;
const SHOW_NAME: u32 = 0x1;
const SHOW_PENDING: u32 = 0x8;
const SHOW_QUEUES: u32 = 0x10;
/// `TCP_LISTEN`, which has the number 10, as a bit.
const LISTENING: u32 = 1 << 10;
const EVERY_STATE: u32 = u32::MAX;

/// A header of 16 bytes and a `unix_diag_req` of 24.
fn request(flags: u16, inode: u32, states: u32, show: u32) -> [u8; 40] {
    let mut bytes = [0; 40];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &40_u32.to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &flags.to_ne_bytes());
    put(16, &[AF_UNIX]);
    put(20, &states.to_ne_bytes());
    put(24, &inode.to_ne_bytes());
    put(28, &show.to_ne_bytes());
    // "Any cookie."
    put(32, &u64::MAX.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn inode(socket: impl AsFd) -> u32 {
        rustix::fs::fstat(socket).unwrap().st_ino.try_into().unwrap()
    }

    #[test]
    fn the_kernel_tells_of_a_socket_of_our_own() {
        let (one, mut other) = UnixStream::pair().unwrap();
        other.write_all(b"12345").unwrap();
        let sockets = dump().unwrap();
        let found = sockets.iter().find(|socket| socket.inode == inode(&one)).unwrap();
        assert_eq!((found.unread, found.peer_inode()), (5, Some(inode(&other))));
        assert_eq!(found.state, State::Connected);
        assert!(found.send_buffer > 0);
    }

    #[test]
    fn the_queues_of_one_socket_are_told_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        let diag = Diag::open().unwrap();
        let mut clients = Vec::new();
        for waiting in 0..3 {
            let queue = diag.queues(inode(&listener)).unwrap();
            assert_eq!((queue.state, queue.unread), (State::Listening, waiting));
            assert!(queue.in_flight > 0);
            clients.push(UnixStream::connect(directory.path().join("s")).unwrap());
        }
        let gone = inode(&listener);
        drop(listener);
        assert_eq!(diag.queues(gone).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
