//! What the kernel knows of every Unix socket: `NETLINK_SOCK_DIAG`, asked by hand.
//!
//! Any user may ask. [`parse`] is pure bytes; only [`dump`] talks to the kernel.

use std::io;

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// One socket, as it was at the moment of the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Unique on the machine while the socket lives, and free to be used again after.
    pub(crate) inode: u32,
    /// Never used again: guards against a new socket under an old inode.
    pub(crate) cookie: u64,
    pub(crate) kind: Kind,
    pub(crate) state: State,
    /// The bytes given to `bind()`; an abstract name begins with NUL. An accepted socket bears the
    /// name of its listener.
    pub(crate) name: Vec<u8>,
    /// The file it is bound to; an accepted socket, again, bears that of its listener.
    pub(crate) file: Option<FileId>,
    pub(crate) peer: Peer,
    /// A listener's clients that nobody has accepted yet, the longest waiting first.
    pub(crate) pending: Vec<u32>,
    /// Unread bytes; a listener's count of `pending`.
    pub(crate) unread: u32,
    /// Memory of what was written and not yet read by the peer; a listener's backlog.
    pub(crate) in_flight: u32,
    /// The send buffer's size, where the kernel tells it.
    pub(crate) send_buffer: u32,
    /// Nothing more will come: the peer has closed or half-closed.
    pub(crate) shut_read: bool,
    /// Nothing more can be sent.
    pub(crate) shut_write: bool,
    pub(crate) uid: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Datagram,
    SeqPacket,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Connected,
    Listening,
    /// Neither: not connected yet, blocked in `connect()`, or bound only.
    Unconnected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Never had one.
    None,
    /// Has or had one that no process holds: not accepted yet, or closed.
    Unheld,
    Inode(u32),
}

/// What a path leads to, in the kernel's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileId {
    pub(crate) inode: u64,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Socket {
    /// The kernel calls a stream writable while at most a quarter of its buffer is in flight.
    pub(crate) fn is_full(&self) -> bool {
        self.send_buffer > 0 && u64::from(self.in_flight) * 4 > u64::from(self.send_buffer)
    }

    /// The peer's inode, if somebody holds it.
    pub(crate) fn peer_inode(&self) -> Option<u32> {
        match self.peer {
            Peer::Inode(inode) => Some(inode),
            Peer::None | Peer::Unheld => None,
        }
    }

    /// The other end is gone for good: both directions are shut, and nobody holds it.
    pub(crate) fn is_orphan(&self) -> bool {
        self.state == State::Connected
            && self.peer == Peer::Unheld
            && self.shut_read
            && self.shut_write
    }
}

/// Every Unix socket of this thread's network namespace.
pub(crate) fn dump() -> io::Result<Vec<Socket>> {
    let netlink = net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    net::send(&netlink, &request(), SendFlags::empty())?;
    let mut sockets = Vec::new();
    let mut buffer = vec![0; RECEIVE];
    loop {
        let (taken, length) = net::recv(&netlink, &mut buffer[..], RecvFlags::TRUNC)?;
        if length > taken {
            return Err(io::Error::other("the kernel's answer does not fit the buffer"));
        }
        match parse(&buffer[..taken], &mut sockets) {
            Progress::More if taken > 0 => {}
            Progress::More | Progress::Done => return Ok(sockets),
            Progress::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// The kernel fills at most 32 KiB at a time.
const RECEIVE: usize = 64 * 1024;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_AND_DUMP: u16 = 0x301;
/// Name, file, peer, pending clients, queues, memory and owner: all that there is.
const SHOW_ALL: u32 = 0x7f;

/// A header of 16 bytes and a `unix_diag_req` of 24.
fn request() -> [u8; 40] {
    let mut bytes = [0; 40];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &40_u32.to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &REQUEST_AND_DUMP.to_ne_bytes());
    put(16, &[AF_UNIX]);
    // Every state.
    put(20, &u32::MAX.to_ne_bytes());
    put(28, &SHOW_ALL.to_ne_bytes());
    // "Any cookie."
    put(32, &u64::MAX.to_ne_bytes());
    bytes
}

const AF_UNIX: u8 = 1;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Done,
    /// An error number.
    Refused(i32),
}

/// Takes the sockets out of one datagram of the kernel's. What does not fit the format is passed
/// over: half a row is no fact.
pub(crate) fn parse(mut datagram: &[u8], sockets: &mut Vec<Socket>) -> Progress {
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    while let (Some(length), Some(kind)) = (u32_at(datagram, 0), u16_at(datagram, 4)) {
        let length = length as usize;
        let Some(body) = datagram.get(16..length) else { return Progress::More };
        match kind {
            DONE => return Progress::Done,
            ERROR => {
                // Given as a negative number.
                let errno = body.first_chunk().map_or(0, |four| i32::from_ne_bytes(*four));
                return match errno {
                    0 => Progress::Done,
                    errno => Progress::Refused(errno.wrapping_neg()),
                };
            }
            SOCK_DIAG_BY_FAMILY => sockets.extend(row(body)),
            _ => {}
        }
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
    }
    Progress::More
}

/// One `unix_diag_msg` and its attributes.
fn row(body: &[u8]) -> Option<Socket> {
    let mut attributes = body.get(16..)?;
    if body[0] != AF_UNIX {
        return None;
    }
    let mut socket = Socket {
        inode: u32_at(body, 4)?,
        cookie: u64_at(body, 8)?,
        kind: match body[1] {
            1 => Kind::Stream,
            2 => Kind::Datagram,
            5 => Kind::SeqPacket,
            _ => Kind::Other,
        },
        state: match body[2] {
            1 => State::Connected,
            10 => State::Listening,
            _ => State::Unconnected,
        },
        name: Vec::new(),
        file: None,
        peer: Peer::None,
        pending: Vec::new(),
        unread: 0,
        in_flight: 0,
        send_buffer: 0,
        shut_read: false,
        shut_write: false,
        uid: None,
    };
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        socket.take(kind, attributes.get(4..length)?);
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    Some(socket)
}

impl Socket {
    fn take(&mut self, kind: u16, value: &[u8]) {
        match kind {
            0 => {
                // A path ends with the NUL that the kernel adds; an abstract name begins with one.
                let path = value.strip_suffix(b"\0").filter(|path| !path.starts_with(b"\0"));
                self.name = path.unwrap_or(value).to_vec();
            }
            // The inode comes first; the manual has it the other way round.
            1 => {
                if let (Some(inode), Some(device)) = (u32_at(value, 0), u32_at(value, 4)) {
                    self.file = Some(FileId {
                        inode: inode.into(),
                        major: device >> 20,
                        minor: device & 0xf_ffff,
                    });
                }
            }
            2 => match u32_at(value, 0) {
                Some(0) => self.peer = Peer::Unheld,
                Some(inode) => self.peer = Peer::Inode(inode),
                None => {}
            },
            3 => {
                self.pending = value.chunks_exact(4).filter_map(|four| u32_at(four, 0)).collect();
            }
            4 => {
                self.unread = u32_at(value, 0).unwrap_or(0);
                self.in_flight = u32_at(value, 4).unwrap_or(0);
            }
            5 => self.send_buffer = u32_at(value, 12).unwrap_or(0),
            6 => {
                let bits = value.first().copied().unwrap_or(0);
                (self.shut_read, self.shut_write) = (bits & 1 != 0, bits & 2 != 0);
            }
            7 => self.uid = u32_at(value, 0),
            _ => {}
        }
    }
}

fn aligned(length: usize) -> usize {
    // A length that is too short to hold its own header would never end.
    length.max(4).next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests;
