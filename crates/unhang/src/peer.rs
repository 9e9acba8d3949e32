//! Who is at the other end.

use std::os::fd::BorrowedFd;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::handler::Peer;

/// `SO_PEERCRED`, unix(7). Not by rustix, which takes the process id for non-zero: it is 0 for a
/// process from outside of our process-id namespace.
pub(crate) fn of(socket: BorrowedFd<'_>) -> Option<Peer> {
    let credentials = getsockopt(&socket, PeerCredentials).ok()?;
    Some(Peer {
        pid: credentials.pid().try_into().unwrap_or(0),
        uid: credentials.uid(),
        gid: credentials.gid(),
    })
}
