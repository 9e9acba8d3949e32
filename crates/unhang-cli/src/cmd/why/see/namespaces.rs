//! Sockets of every network namespace. A socket file is reached from all of them, but a dump shows
//! only one: of a container that shares the directory nothing would be seen.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sock_diag::{self, Socket};

/// The namespaces there are besides our own. Held open: the process by which one was found may end
/// while others in it live on.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    others: Vec<io::Result<File>>,
}

impl Namespaces {
    /// Those of all processes whose namespace this user may see.
    pub(crate) fn of(pids: &[u32]) -> Self {
        let own = fs::read_link("/proc/self/ns/net").ok();
        let mut seen: HashSet<PathBuf> = own.into_iter().collect();
        let links = pids.iter().map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
        let new = links.filter(|link| fs::read_link(link).is_ok_and(|name| seen.insert(name)));
        Self { others: new.map(File::open).collect() }
    }

    /// All sockets by inode, which is unique across namespaces, and how many namespaces could not
    /// be looked into.
    pub(crate) fn dump(&self) -> io::Result<(HashMap<u32, Socket>, usize)> {
        let mut sockets = sock_diag::dump()?;
        let mut hidden = 0;
        for namespace in &self.others {
            match namespace.as_ref().map(dump_in) {
                Ok(Ok(more)) => sockets.extend(more),
                // The process has ended since it was found.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(Err(_)) | Err(_) => hidden += 1,
            }
        }
        Ok((sockets.into_iter().map(|socket| (socket.inode, socket)).collect(), hidden))
    }

    pub(crate) fn count(&self) -> usize {
        1 + self.others.len()
    }
}

/// On a thread of its own, which ends there: no other ever sees the foreign namespace.
fn dump_in(namespace: &File) -> io::Result<Vec<Socket>> {
    let namespace = namespace.try_clone()?;
    let visit = move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        sock_diag::dump()
    };
    let visitor = thread::Builder::new().spawn(visit)?;
    visitor.join().unwrap_or_else(|_| Err(io::Error::other("the visit did not end well")))
}
