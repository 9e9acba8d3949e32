//! A closer look at what seems to hang: the bytes that lie unread, the script's line, the goroutine
//! that reads. It takes longer and more rights, so it is taken only of what was found.

use super::borrow;
use super::facts::Facts;
use super::runtime;
use super::target::Target;
use super::verdict::{Code, End, Verdict};
use crate::sock_diag::Socket;

/// Of no more connections than anybody would read about.
const MOST: usize = 64;

/// Asks the Go runtimes about the connections they hold. Before anything is judged, as a Go program
/// watches even what it has forgotten.
pub(crate) fn ask_readers(facts: &mut Facts, target: &Target) {
    let is_candidate = |socket: &&Socket| {
        let peer = socket.peer_inode().and_then(|peer| facts.sockets.get(&peer));
        facts.is_accepted(socket)
            && facts.is_steady(socket.inode)
            && socket.unread == 0
            && peer.is_some_and(|peer| peer.unread == 0 && facts.is_steady(peer.inode))
            && target.concerns(facts, socket)
    };
    let ends: Vec<u32> = facts
        .sockets
        .values()
        .filter(is_candidate)
        .flat_map(|socket| [Some(socket.inode), socket.peer_inode()])
        .flatten()
        .filter(|inode| runtime_watches(facts, *inode).is_some())
        .take(MOST * 2)
        .collect();
    for inode in ends {
        if let Some((pid, fd, data)) = runtime_watches(facts, inode) {
            let reader = runtime::go_reader(pid, fd, data);
            facts.details.readers.insert(inode, reader);
        }
    }
}

/// Process, descriptor and the runtime's own record of a socket that an event loop like Go's holds.
fn runtime_watches(facts: &Facts, inode: u32) -> Option<(u32, u32, u64)> {
    let (process, fd) = facts.holders(inode).next()?;
    let epolls = &process.descriptors.as_ref()?.epolls;
    let registration = epolls.iter().find_map(|epoll| epoll.watches(inode))?;
    registration.is_of_a_runtime().then_some((process.pid, fd, registration.data))
}

/// Where the scripts are at the ends of what was found, and, where asked for, what lies unread.
pub(crate) fn look(facts: &mut Facts, verdicts: &[Verdict], show_data: bool) {
    let found = verdicts.iter().filter(|one| one.code != Code::OwnerNotVisible).take(MOST);
    for end in found.flat_map(|verdict| verdict.clients.iter().chain(&verdict.server)).take(MOST) {
        for held in &end.holders {
            let place = || runtime::where_is(held.pid, show_data);
            facts.details.places.entry(held.pid).or_insert_with(place);
        }
        if show_data && end.unread > 0 {
            peek(facts, end);
        }
    }
}

fn peek(facts: &mut Facts, end: &End) {
    let bytes =
        end.holders.iter().find_map(|held| borrow::unread(held.pid, held.fd, end.inode).ok());
    if let Some(bytes) = bytes {
        facts.details.unread.insert(end.inode, bytes);
    }
}
