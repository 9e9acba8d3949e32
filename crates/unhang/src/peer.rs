//! The process at the other end.

pub(crate) mod awake;

use std::fs;
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

/// Whether this user id stands for any user that our user namespace does not map: the kernel's overflow id,
/// `user_namespaces(7)`. Then it identifies nobody, and must not be trusted.
///
/// If the namespace maps all ids, as the first one does, the id is a user as any other (`nobody`).
pub(crate) fn is_nobody(uid: u32) -> bool {
    is_unmapped(uid, "/proc/sys/kernel/overflowuid", "/proc/self/uid_map")
}

/// The same for a group id.
pub(crate) fn is_no_group(gid: u32) -> bool {
    is_unmapped(gid, "/proc/sys/kernel/overflowgid", "/proc/self/gid_map")
}

fn is_unmapped(id: u32, overflow: &str, map: &str) -> bool {
    let overflow = fs::read_to_string(overflow).ok();
    let overflow = overflow.and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW);
    id == overflow && !maps_all(&fs::read_to_string(map).unwrap_or_default())
}

/// What it is unless it was changed: include/linux/highuid.h.
const OVERFLOW: u32 = 65_534;

/// Whether the lines `<inside> <outside> <length>` leave no id out, which `u32::MAX` is not.
fn maps_all(map: &str) -> bool {
    let lengths =
        map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    lengths.sum::<u64>() >= u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_namespace_that_maps_every_id_leaves_nobody_unknown() {
        assert!(maps_all("         0          0 4294967295\n"));
        assert!(!maps_all("0 100000 65536\n"));
        assert!(!maps_all("0 1000 1\n1 100000 65536\n"));
        assert!(!maps_all(""));
    }
}
