//! Which descriptors a process holds, and what they lead to: `/proc/PID/fd`.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use super::epoll::Epoll;

#[derive(Clone, Debug, Default)]
pub(crate) struct Descriptors {
    /// Descriptor and inode of every socket, of whatever family, by descriptor: there may be thousands,
    /// and as many threads that each wait at one.
    pub(crate) sockets: Vec<(u32, u32)>,
    /// The same of every pipe, whose two ends have one inode.
    pub(crate) pipes: Vec<(u32, u32)>,
    pub(crate) epolls: Vec<Epoll>,
    /// The number that the next one would get.
    pub(crate) next: u32,
    /// The first descriptor of each socket: there may be thousands, and as many questions for each.
    pub(crate) by_inode: OnceCell<HashMap<u32, u32>>,
}

impl Descriptors {
    pub(crate) fn new(
        sockets: Vec<(u32, u32)>,
        pipes: Vec<(u32, u32)>,
        epolls: Vec<Epoll>,
        next: u32,
    ) -> Self {
        Self { sockets, pipes, epolls, next, by_inode: OnceCell::new() }
    }

    pub(crate) fn inode(&self, fd: u32) -> Option<u32> {
        let at = self.sockets.binary_search_by_key(&fd, |socket| socket.0).ok()?;
        Some(self.sockets.get(at)?.1)
    }

    pub(crate) fn pipe(&self, fd: u32) -> Option<u32> {
        self.pipes.iter().find(|pipe| pipe.0 == fd).map(|pipe| pipe.1)
    }

    /// Whether one epoll instance is watched by the other.
    pub(crate) fn nests(&self, outer: u32, inner: u32) -> bool {
        let outer = self.epolls.iter().find(|epoll| epoll.fd == outer);
        outer.is_some_and(|outer| outer.watched.iter().any(|watched| watched.fd == inner))
    }

    /// The descriptor under which this process has the socket.
    pub(crate) fn find(&self, inode: u32) -> Option<u32> {
        let index = || self.sockets.iter().rev().map(|(fd, inode)| (*inode, *fd)).collect();
        self.by_inode.get_or_init(index).get(&inode).copied()
    }
}

#[derive(Default)]
pub(super) struct Links {
    pub(super) sockets: Vec<(u32, u32)>,
    pub(super) pipes: Vec<(u32, u32)>,
    pub(super) epolls: Vec<u32>,
    all: BTreeSet<u32>,
}

impl Links {
    /// The kernel gives the lowest number that is free, and refuses when that reaches the limit:
    /// however many there are.
    pub(super) fn next(&self) -> u32 {
        (0..)
            .zip(&self.all)
            .find(|(free, fd)| free != *fd)
            .map_or_else(|| u32::try_from(self.all.len()).unwrap_or(u32::MAX), |(free, _)| free)
    }
}

/// Of a process with more descriptors, nothing is looked at: it takes some microseconds for each, several times.
/// The busiest servers have a hundred thousand.
const MOST: usize = 1 << 18;

pub(super) fn links(pid: u32) -> io::Result<Links> {
    let links = links_in(format!("/proc/{pid}/fd").as_ref())?;
    if !links.all.is_empty() {
        return Ok(links);
    }
    // Where its first thread has ended and others have not, only those show what it holds.
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?.filter_map(Result::ok);
    let mut others = tasks.filter_map(|task| links_in(&task.path().join("fd")).ok());
    Ok(others.find(|others| !others.all.is_empty()).unwrap_or(links))
}

fn links_in(directory: &Path) -> io::Result<Links> {
    let mut links = Links::default();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if links.all.len() >= MOST {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        links.all.insert(fd);
        let target = match fs::read_link(entry.path()) {
            Ok(target) => target,
            // The directory is its user's to read. Where that one lacks a capability that the process
            // has, its links are not.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // Closed since the directory was read.
            Err(_) => continue,
        };
        // A file with a name that is no text: no socket.
        let Some(target) = target.to_str() else { continue };
        if let Some(inode) = inode_of(target, "socket") {
            links.sockets.push((fd, inode));
        } else if let Some(inode) = inode_of(target, "pipe") {
            links.pipes.push((fd, inode));
        } else if target == "anon_inode:[eventpoll]" {
            links.epolls.push(fd);
        }
    }
    // The kernel gives them so already.
    links.sockets.sort_unstable();
    Ok(links)
}

/// The number in a link as `socket:[12345]`.
fn inode_of(target: &str, kind: &str) -> Option<u32> {
    target.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_comes_next() {
        let next = |all: &[u32]| {
            let all = all.iter().copied().collect();
            Links { all, ..Links::default() }.next()
        };
        assert_eq!((next(&[]), next(&[0, 1, 2]), next(&[0, 2, 255])), (0, 3, 1));
    }

    #[test]
    fn only_a_link_of_that_kind_gives_an_inode() {
        assert_eq!(inode_of("socket:[123]", "socket"), Some(123));
        assert_eq!(inode_of("pipe:[123]", "pipe"), Some(123));
        for other in ["pipe:[123]", "socket:[x]", "socket:[123", "/tmp/socket:[1]"] {
            assert_eq!(inode_of(other, "socket"), None, "{other}");
        }
    }
}
