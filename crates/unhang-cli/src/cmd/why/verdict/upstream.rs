//! An event loop that is itself a client: nginx before php-fpm, `unhang serve --to` before a server.

use super::cause::{self, Cause};
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::Facts;
use crate::cmd::why::see::process::Process;
use crate::sock_diag::{Socket, State};

/// So many event loops, one behind the other, are followed.
const DEPTH: u32 = 8;

/// The connections that these event loops opened as a client and whose servers are held up, by the inode of
/// the client's end.
pub(super) fn held_up(facts: &Facts, front: &Endpoint<'_>) -> Vec<u32> {
    held_up_within(facts, front, DEPTH)
}

fn held_up_within(facts: &Facts, front: &Endpoint<'_>, depth: u32) -> Vec<u32> {
    if depth == 0 {
        return Vec::new();
    }
    let opened = front.processes().flat_map(|process| opened(facts, process));
    opened.filter(|end| is_held_up(facts, end, depth)).map(|end| end.inode).collect()
}

/// The ends of connections to other servers that the process watches.
fn opened<'a>(facts: &'a Facts, process: &'a Process) -> impl Iterator<Item = &'a Socket> {
    let epolls = process.descriptors.iter().flat_map(|all| &all.epolls);
    let inodes = epolls.flat_map(|epoll| &epoll.watched).map(|one| one.inode);
    let sockets = inodes.filter_map(|inode| facts.sockets.get(&u32::try_from(inode).ok()?));
    sockets.filter(|end| {
        end.state == State::Connected
            && !facts.is_accepted(end)
            && !facts.is_own_pair(process.pid, end.inode)
    })
}

/// The server does something else, all the while, than to read from this connection or to answer.
fn is_held_up(facts: &Facts, client: &Socket, depth: u32) -> bool {
    let peer = client.peer_inode().and_then(|peer| facts.sockets.get(&peer));
    let Some(peer) = peer.filter(|peer| facts.is_accepted(peer)) else { return false };
    // An answer lies there, or came meanwhile.
    if client.unread > 0 || !facts.is_steady(client.inode) || !facts.is_steady(peer.inode) {
        return false;
    }
    let server = Endpoint::of(facts, peer);
    if server.is_hidden || !server.readers.is_empty() {
        return false;
    }
    if server.is_stopped() {
        return true;
    }
    if server.reading_loop().is_some() {
        return !held_up_within(facts, &server, depth - 1).is_empty();
    }
    let cause = cause::of(facts, &server).0;
    matches!(
        cause,
        Cause::Blocked(_) | Cause::Computing(_) | Cause::Backend(..) | Cause::Network(_)
    )
}
