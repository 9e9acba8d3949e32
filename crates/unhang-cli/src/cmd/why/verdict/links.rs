//! Which server waits, as a client, for which other: the chain of `chain`, for a picture.

use std::collections::HashSet;

use super::cause::{self, Cause};
use super::chain::at;
use super::finding::End;
use super::upstream;
use super::words::{end, name_of};
use crate::cmd::why::endpoint::Endpoint;
use crate::cmd::why::facts::Facts;
use crate::sock_diag::Socket;

/// One process waits for another.
pub(crate) struct Link {
    pub(crate) client: End,
    /// None: it is not to be seen.
    pub(crate) server: Option<End>,
}

/// All waits behind a server's end: for which servers its holders wait, and those for which others.
pub(crate) fn behind(facts: &Facts, server: u32) -> Vec<Link> {
    /// More would be no picture.
    const MOST: usize = 32;
    let (mut links, mut next, mut seen) = (Vec::new(), vec![server], HashSet::from([server]));
    while let Some(inode) = next.pop() {
        let Some(socket) = facts.sockets.get(&inode) else { continue };
        for client in waits_through(facts, socket) {
            let Some(near) = facts.sockets.get(&client) else { continue };
            let far = far_end(facts, near);
            next.extend(far.map(|far| far.inode).filter(|inode| seen.insert(*inode)));
            links.push(Link {
                client: end(&Endpoint::of(facts, near)),
                server: far.map(|far| end(&Endpoint::of(facts, far))),
            });
            if links.len() == MOST {
                return links;
            }
        }
    }
    links
}

/// The ends of their own, as clients, that the holders of a server's end wait at.
fn waits_through(facts: &Facts, server: &Socket) -> Vec<u32> {
    let endpoint = Endpoint::of(facts, server);
    if !endpoint.readers.is_empty() || endpoint.is_stopped() {
        return Vec::new();
    }
    if endpoint.reading_loop().is_some() {
        return upstream::held_up(facts, &endpoint);
    }
    match cause::of(facts, &endpoint).0 {
        Cause::Backend(_, inode) => vec![inode],
        _ => Vec::new(),
    }
}

/// The server's end, or the listener in whose queue the client waits.
fn far_end<'a>(facts: &'a Facts, client: &Socket) -> Option<&'a Socket> {
    let peer = client.peer_inode().and_then(|peer| facts.sockets.get(&peer));
    peer.or_else(|| facts.queue_of(client.inode))
}

/// The name of the socket at which a client's end waits.
pub(crate) fn socket_name(facts: &Facts, client: &End) -> String {
    at(facts, client.inode)
}

/// The name of the socket that a server's end, or a listener, has.
pub(crate) fn server_name(facts: &Facts, server: u32) -> String {
    facts.sockets.get(&server).map_or_else(String::new, |socket| name_of(&socket.name))
}
