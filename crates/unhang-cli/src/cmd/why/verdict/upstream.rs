//! An event loop that is itself a client: nginx before php-fpm, `unhang serve --to` before a server.

use super::cause::{self, Cause};
use crate::cmd::why::ask::reader::Reader;
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::Facts;
use crate::cmd::why::see::process::Process;
use crate::sock_diag::{Socket, State};

/// So many event loops, one behind the other, are followed.
const DEPTH: u32 = 8;

/// The connections that these event loops opened as a client and whose servers are held up, by the inode of
/// the client's end.
pub(super) fn held_up(facts: &Facts, front: &Endpoint<'_>) -> Vec<u32> {
    held_up_within(facts, front.processes(), DEPTH)
}

/// The same of one process.
pub(super) fn held_up_of(facts: &Facts, process: &Process) -> Vec<u32> {
    held_up_within(facts, std::iter::once(process), DEPTH)
}

fn held_up_within<'a>(
    facts: &'a Facts,
    processes: impl Iterator<Item = &'a Process>,
    depth: u32,
) -> Vec<u32> {
    if depth == 0 {
        return Vec::new();
    }
    let opened = processes.flat_map(|process| opened(facts, process));
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
        return runtime_is_held_up(facts, client, &server)
            || !held_up_within(facts, server.processes(), depth - 1).is_empty();
    }
    let cause = cause::of(facts, &server).0;
    matches!(
        cause,
        Cause::Blocked(_) | Cause::Computing(_) | Cause::Backend(..) | Cause::Network(_)
    )
}

/// Of a Go server the runtime tells: the request is with a handler, or nobody is left to answer. One look at
/// it is a moment's: it counts only if the client, too, has not run since the look began.
fn runtime_is_held_up(facts: &Facts, client: &Socket, server: &Endpoint<'_>) -> bool {
    let is_stuck = match facts.details.readers.get(&server.socket.inode) {
        Some(Ok(Some(Reader::Handled { handler: Ok(handler) }))) => !handler.selects,
        Some(Ok(Some(Reader::Nobody { handlers: 0 }))) => true,
        _ => false,
    };
    is_stuck && Endpoint::of(facts, client).is_still()
}
