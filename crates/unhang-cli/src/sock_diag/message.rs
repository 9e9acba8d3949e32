//! What the kernel's answers say. Pure bytes.

use serde::{Deserialize, Serialize};

/// One socket, as it was at the moment of the dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// A listener's clients that nobody has accepted yet, the longest waiting first; or [`LEFT`].
    pub(crate) pending: Vec<u32>,
    /// Unread bytes; a listener's count of `pending`.
    pub(crate) unread: u32,
    /// Memory of what was written and not yet read by the peer; a listener's backlog.
    pub(crate) in_flight: u32,
    /// The send buffer's size, if the kernel tells it.
    pub(crate) send_buffer: u32,
    /// Nothing more will come: the peer has closed or half-closed.
    pub(crate) shut_read: bool,
    /// Nothing more can be sent.
    pub(crate) shut_write: bool,
    pub(crate) uid: Option<u32>,
}

/// In the place of a client that has closed before anybody accepted it.
pub(crate) const LEFT: u32 = 0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Datagram,
    SeqPacket,
    #[default]
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    Connected,
    Listening,
    /// Neither: not connected yet, blocked in `connect()`, or bound only.
    #[default]
    Unconnected,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Never had one.
    #[default]
    None,
    /// Has or had one that no process holds: not accepted yet, or closed.
    Unheld,
    Inode(u32),
}

/// What a path leads to, in the kernel's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FileId {
    /// The lower half of it is all that this interface has room for.
    pub(crate) inode: u32,
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

pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
pub(super) const AF_UNIX: u8 = 1;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Done,
    /// An error number.
    Refused(i32),
}

/// Takes the sockets out of one datagram of the kernel's. A row that does not fit the format is passed
/// over: half a row is no fact.
pub(crate) fn parse(mut datagram: &[u8], sockets: &mut Vec<Socket>) -> Progress {
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    while let (Some(length), Some(kind)) = (u32_at(datagram, 0), u16_at(datagram, 4)) {
        let length = length as usize;
        let Some(body) = datagram.get(16..length) else { return Progress::More };
        match kind {
            // Either bears an error number, given as a negative one: a dump that breaks off ends
            // with "done", too.
            DONE | ERROR => {
                let errno = body.first_chunk().map_or(0, |four| i32::from_ne_bytes(*four));
                return match errno {
                    0.. => Progress::Done,
                    errno => Progress::Refused(errno.saturating_neg()),
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
        ..Socket::default()
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
                    let (major, minor) = (device >> 20, device & 0xf_ffff);
                    self.file = Some(FileId { inode, major, minor });
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
