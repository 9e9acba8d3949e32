//! Which process listens behind a connection.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, getpeername};

use super::process::Process;
use crate::sock_diag::{self, State};

/// The process that the kernel noted at `listen()`, if it still holds the listener. Its number alone proves
/// nothing: the process may have given the socket to another, or have ended, and its number be another's.
pub(super) fn behind(socket: impl AsFd) -> Result<Process, String> {
    let peer = getsockopt(&socket, PeerCredentials)
        .map_err(|error| format!("the kernel does not say who listens: {error}"))?;
    let pid = match peer.pid() {
        0 => return Err("who listens is in another pid namespace".to_owned()),
        1 => {
            return Err("who listens is pid 1, which has made the socket for somebody else".into());
        }
        pid => pid,
    };
    let process = Process::open(pid).map_err(|error| match error {
        Errno::SRCH => format!("pid {pid}, which made the socket, has ended"),
        error => format!("pid {pid} cannot be held by a pidfd: {}", io::Error::from(error)),
    })?;
    let listeners = listeners(socket)
        .map_err(|error| format!("the kernel does not tell the listener: {error}"))?;
    match process.holds(&listeners) {
        Ok(true) => Ok(process),
        Ok(false) => Err(format!(
            "pid {pid} made the socket, and does not hold it any more, if it is still the same process"
        )),
        Err(error) => Err(format!("what pid {pid} holds cannot be seen: {error}")),
    }
}

/// The inodes of those that listen under the name to which this is connected.
fn listeners(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let peer = getpeername(socket)?.and_then(|peer| SocketAddrUnix::try_from(peer).ok());
    let Some(peer) = peer else { return Ok(Vec::new()) };
    let name = match (peer.path_bytes(), peer.abstract_name()) {
        (Some(path), _) => path.to_vec(),
        (_, Some(name)) => [&[0], name].concat(),
        _ => return Ok(Vec::new()),
    };
    let all = sock_diag::dump()?;
    let ours = all.iter().filter(|one| one.state == State::Listening && one.name == name);
    Ok(ours.map(|one| one.inode).collect())
}
