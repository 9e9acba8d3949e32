//! Asks at a control socket. Nothing here waits for long: a server that is stopped, or at something
//! else, says nothing, and that is an answer too.
//!
//! Only the helper does this. A server may pass descriptors that nobody asked for, and though none is
//! taken, the kernel closes them on our behalf: that lasts as long as their owner likes (`SO_LINGER`).

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::cmd::why::helper::question::Control;
use crate::cmd::why::see::file_id;
use crate::sock_diag::Diag;

/// With the version of the answer.
pub(crate) const WAITS: &[u8] = b"unhang in-flight 1\n";

/// About one call on another machine. The server is to answer a little before it is given up.
pub(crate) fn call(number: u32, millis: u64) -> String {
    format!("unhang call 1 {number} {}\n", millis * 9 / 10)
}

/// More than the lines of some ten thousand connections.
const LONGEST: usize = 1 << 20;

/// The bytes that come until the end. None: no answer came in time, or the process that answers may not
/// be told.
pub(crate) fn ask(
    control: &Control,
    server: u32,
    question: &[u8],
    until: Instant,
) -> Option<Vec<u8>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    connect(&socket, control, server)?;
    // A socket that nothing was written to yet has room for it.
    if net::send(&socket, question, SendFlags::NOSIGNAL).ok()? != question.len() {
        return None;
    }
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let left = Timespec::try_from(until.checked_duration_since(Instant::now())?).ok()?;
        if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&left)).ok()? == 0 {
            return None;
        }
        match net::recv(&socket, &mut chunk[..], RecvFlags::DONTWAIT).ok()?.0 {
            0 => return Some(answer),
            bytes if answer.len() + bytes > LONGEST => return None,
            bytes => answer.extend_from_slice(&chunk[..bytes]),
        }
    }
}

/// To this very socket, and no other that has its name by now, or in our view of the files. Where its
/// queue is full, that fails at once.
fn connect(socket: &OwnedFd, control: &Control, server: u32) -> Option<()> {
    let Some(id) = control.file else {
        // Of an abstract name there is one in each network namespace; the kernel tells of ours.
        Diag::open().ok()?.queues(control.inode).ok()?;
        let name = SocketAddrUnix::new_abstract_name(control.name.strip_prefix(b"\0")?).ok()?;
        return net::connect(socket, &name).ok();
    };
    let file = file_id::open_as_seen_by(server, &control.name).ok()?;
    if file_id::id_of(&file, &server.to_string()).ok()? != id {
        return None;
    }
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    net::connect(socket, &SocketAddrUnix::new(&path).ok()?).ok()
}
