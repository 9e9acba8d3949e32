//! What clients pass along with their bytes.

use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};

/// Linux 6.16, include/uapi/asm-generic/socket.h: whether the peers of a socket, or of those that it
/// accepts, may pass descriptors (`SCM_RIGHTS`, unix(7)). They may unless it is cleared.
#[cfg(not(any(target_arch = "sparc", target_arch = "sparc64")))]
const SO_PASSRIGHTS: libc::c_int = 83;
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
const SO_PASSRIGHTS: libc::c_int = 92;

sockopt_impl!(PassRights, SetOnly, libc::SOL_SOCKET, SO_PASSRIGHTS, bool);

/// Has whoever passes a descriptor to this socket, or to one that it accepts, get an error (EPERM).
///
/// Nobody here wants one, and the kernel would close it on the thread that reads: a TCP connection with
/// `SO_LINGER` may make that close wait for as long as its sender likes, and with it all whom that
/// thread serves.
pub(crate) fn refuse(socket: impl AsFd) {
    // Older kernels do not know it; there is nothing else that could be done.
    let _ = setsockopt(&socket, PassRights, &false);
}
