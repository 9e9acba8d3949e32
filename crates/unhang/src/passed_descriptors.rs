//! File descriptors that the other end of a Unix socket passes along with its bytes (`SCM_RIGHTS`,
//! unix(7)).
//!
//! Nobody here wants one. The kernel closes a passed descriptor that nobody takes on the thread that
//! reads the bytes or closes the socket. A TCP connection with `SO_LINGER` may make that close wait for as
//! long as its sender likes, and with it the thread's deadlines. So they are refused ([`refuse`]), or on
//! kernels that cannot refuse them, found before they are read ([`peek`]) and closed elsewhere
//! ([`close_elsewhere`]).

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::socket::{getsockopt, setsockopt};
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, Shutdown};

/// Linux 6.16, include/uapi/asm-generic/socket.h: whether the peers of a socket, or of those that it
/// accepts, may pass descriptors. They may unless it is cleared.
#[cfg(not(any(target_arch = "sparc", target_arch = "sparc64")))]
const SO_PASSRIGHTS: libc::c_int = 83;
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
const SO_PASSRIGHTS: libc::c_int = 92;

sockopt_impl!(PassRights, Both, libc::SOL_SOCKET, SO_PASSRIGHTS, bool);

/// Lets a peer that passes a descriptor to this socket, or to one that it accepts, get an error (EPERM).
/// A client must call it before `connect()`, a server before `listen()`: a descriptor that was passed
/// before is not refused.
///
/// Whether the kernel can: older ones answer ENOPROTOOPT, and then [`peek`] has to look at all that is
/// read.
pub fn refuse(socket: impl AsFd) -> bool {
    let refused = setsockopt(&socket, PassRights, &false).is_ok();
    if !refused {
        show_all(&socket);
    }
    refused
}

/// Refuses what this peer passes from now on. [`peek`] shows the earlier ones.
pub(crate) fn refuse_more(socket: impl AsFd) {
    let _ = setsockopt(&socket, PassRights, &false);
    show_all(&socket);
}

/// A read skips a byte that was sent out of band, closes what came with it, and [`peek`] does not see it
/// (`manage_oob`, `net/unix/af_unix.c`). In line it is a byte as any other.
fn show_all(socket: impl AsFd) {
    let _ = rustix::net::sockopt::set_socket_oobinline(socket, true);
}

/// Takes the descriptors of this peer again.
pub(crate) fn allow(socket: impl AsFd) {
    // If the kernel does not know the option, nothing was refused.
    let _ = setsockopt(&socket, PassRights, &true);
}

/// Whether a peer of this socket gets that error. One that connected before its listener refused
/// descriptors does not, and may have passed some.
pub(crate) fn are_refused(socket: impl AsFd) -> bool {
    getsockopt(&socket, PassRights) == Ok(false)
}

/// What can be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// So many bytes, which are in the buffer and still in the socket. 0: nothing will follow.
    pub bytes: usize,
    /// The last of them came with a descriptor. To read them, or to close the socket, is left to
    /// [`close_elsewhere`].
    pub has_descriptor: bool,
}

/// Looks at the next bytes without taking them, and so without closing what was passed with them. To take
/// them after that, read no more than [`Peeked::bytes`]: the next byte may have come with a descriptor.
///
/// # Errors
/// As recv(2): EAGAIN if there is nothing, and the socket does not block.
pub fn peek(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Peeked> {
    // The kernel sets MSG_CTRUNC if there is a descriptor and no room for it (`scm_recv`, net/core/scm.c).
    // A look that takes the bytes would drop the last reference to it, a look that leaves them does not.
    let mut no_room = RecvAncillaryBuffer::default();
    let flags = RecvFlags::PEEK;
    let buffers = &mut [IoSliceMut::new(buffer)];
    let seen = rustix::net::recvmsg(&socket, buffers, &mut no_room, flags)?;
    let has_descriptor = seen.flags.contains(ReturnFlags::CTRUNC);
    Ok(Peeked { bytes: seen.bytes, has_descriptor })
}

/// Closes a socket to which a descriptor may have been passed, without waiting for it.
///
/// Nothing more can be passed once its input is shut. If nothing is unread by then, the close waits for
/// nobody, and is done here. Otherwise a thread does it that nobody waits for.
pub fn close_elsewhere(socket: OwnedFd) {
    // Fails only if the peer is gone, which may have passed something before.
    let _ = rustix::net::shutdown(&socket, Shutdown::Both);
    if rustix::io::ioctl_fionread(&socket).is_ok_and(|unread| unread == 0) {
        return;
    }
    let mut closer = closer();
    closer.waiting.push(socket);
    if closer.threads < CLOSERS {
        // If no thread can be started, it stays open until the next one is. To close it here could cost a
        // deadline.
        let thread = std::thread::Builder::new().name("closer".into()).spawn(close_all);
        closer.threads += usize::from(thread.is_ok());
    }
}

/// How many sockets wait for a thread that closes them.
pub(crate) fn waiting_to_be_closed() -> usize {
    closer().waiting.len()
}

/// Threads that close at a time. A close takes microseconds, but for those of a hostile peer, of which each
/// costs a thread for as long as that peer likes; more threads than this would cost the machine.
const CLOSERS: usize = 32;

struct Closer {
    threads: usize,
    waiting: Vec<OwnedFd>,
}

fn closer() -> MutexGuard<'static, Closer> {
    static CLOSER: Mutex<Closer> = Mutex::new(Closer { threads: 0, waiting: Vec::new() });
    CLOSER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn close_all() {
    loop {
        let mut closer = closer();
        let Some(socket) = closer.waiting.pop() else {
            closer.threads -= 1;
            return;
        };
        drop(closer);
        drop(socket);
    }
}
