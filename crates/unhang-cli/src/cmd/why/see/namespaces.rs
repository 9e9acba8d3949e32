//! Sockets of every network namespace. A socket file is reached from all of them, but a dump shows
//! only one: of a container that shares the directory nothing would be seen.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sock_diag::{self, Socket};

/// The namespaces there are besides our own. None is held open: anybody may make hundreds.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    others: BTreeMap<PathBuf, Vec<u32>>,
}

/// Through so many processes a namespace may be entered: the one by which it was found may end while
/// others in it live on.
const MOST_DOORS: usize = 8;

impl Namespaces {
    /// Those of all processes whose namespace this user may see.
    pub(crate) fn of(pids: &[u32]) -> Self {
        let own = fs::read_link("/proc/self/ns/net").ok();
        let mut others: BTreeMap<PathBuf, Vec<u32>> = BTreeMap::new();
        for pid in pids {
            let Ok(name) = fs::read_link(link(*pid)) else { continue };
            if Some(&name) != own.as_ref() {
                let doors = others.entry(name).or_default();
                if doors.len() < MOST_DOORS {
                    doors.push(*pid);
                }
            }
        }
        Self { others }
    }

    /// All sockets by inode, which is unique across namespaces, and how many namespaces could not
    /// be looked into.
    pub(crate) fn dump(&self) -> io::Result<(HashMap<u32, Socket>, usize)> {
        let mut sockets = sock_diag::dump()?;
        let mut hidden = 0;
        if !self.others.is_empty() {
            let others = self.others.clone();
            // On a thread of its own, which ends there: no other ever sees a foreign namespace.
            let visitor = thread::Builder::new().spawn(move || visit(&others))?;
            let seen = visitor.join();
            let (more, unseen) = seen.unwrap_or_else(|_| (Vec::new(), self.others.len()));
            sockets.extend(more);
            hidden = unseen;
        }
        Ok((sockets.into_iter().map(|socket| (socket.inode, socket)).collect(), hidden))
    }

    pub(crate) fn count(&self) -> usize {
        1 + self.others.len()
    }
}

fn link(pid: u32) -> String {
    format!("/proc/{pid}/ns/net")
}

/// One after the other; and how many could not be looked into.
fn visit(namespaces: &BTreeMap<PathBuf, Vec<u32>>) -> (Vec<Socket>, usize) {
    let mut sockets = Vec::new();
    let mut hidden = 0;
    for (name, doors) in namespaces {
        let is_there = |pid: &&u32| fs::read_link(link(**pid)).is_ok_and(|now| now == *name);
        // All its processes have ended, and it most likely with them.
        let Some(pid) = doors.iter().find(is_there) else { continue };
        match File::open(link(*pid)).and_then(|namespace| dump_in(&namespace)) {
            Ok(more) => sockets.extend(more),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => hidden += 1,
        }
    }
    (sockets, hidden)
}

fn dump_in(namespace: &File) -> io::Result<Vec<Socket>> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    sock_diag::dump()
}
