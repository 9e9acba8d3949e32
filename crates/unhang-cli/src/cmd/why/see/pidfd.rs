//! A closer look at another process's socket: its descriptor is duplicated for microseconds.
//!
//! While it is borrowed the owner's `close()` does not end the connection, so nothing here waits, and
//! the descriptor is gone before any answer is used. Nothing is taken out of a queue, and the
//! socket's pending error, which reading would clear, is left alone.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::fs::fstat;
use rustix::net::{self, RecvFlags, SocketAddrUnix};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// The first unread bytes, without taking them. A program that set `SO_PEEK_OFF` would see its
/// offset moved, so this is done only for a user who asks to see data.
pub(crate) fn unread(pid: u32, fd: u32, inode: u32) -> io::Result<Vec<u8>> {
    /// Enough to recognise a request by.
    const FIRST: usize = 256;
    let mut bytes = vec![0; FIRST];
    let taken = {
        let socket = duplicate(pid, fd, inode)?;
        net::recv(&socket, &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?.0
    };
    bytes.truncate(taken);
    Ok(bytes)
}

/// The name of the other end, also after it was closed: a path, or NUL and an abstract name.
pub(crate) fn peer_name(pid: u32, fd: u32, inode: u32) -> io::Result<Option<Vec<u8>>> {
    let address = {
        let socket = duplicate(pid, fd, inode)?;
        net::getpeername(&socket)?
    };
    let address = address.and_then(|address| SocketAddrUnix::try_from(address).ok());
    Ok(address.and_then(|address| match (address.path_bytes(), address.abstract_name()) {
        (Some(path), _) => Some(path.to_vec()),
        (None, Some(name)) => Some([b"\0", name].concat()),
        (None, None) => None,
    }))
}

/// The process that called `listen()` on it, which the kernel notes as its credentials (`unix(7)`).
pub(crate) fn listened(pid: u32, fd: u32, inode: u32) -> io::Result<u32> {
    let credentials = {
        let socket = duplicate(pid, fd, inode)?;
        getsockopt(&socket, PeerCredentials)?
    };
    u32::try_from(credentials.pid()).map_err(io::Error::other)
}

/// The descriptor, if it still leads to that socket.
pub(crate) fn duplicate(pid: u32, fd: u32, inode: u32) -> io::Result<OwnedFd> {
    let numbers = (i32::try_from(pid).ok().and_then(Pid::from_raw), i32::try_from(fd).ok());
    let (Some(pid), Some(fd)) = numbers else { return Err(io::ErrorKind::NotFound.into()) };
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let socket = pidfd_getfd(&process, fd, PidfdGetfdFlags::empty())?;
    if fstat(&socket)?.st_ino != u64::from(inode) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(socket)
}
