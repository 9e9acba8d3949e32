//! What a server's descriptors are: its clients, its listener, what it wakes itself with, or something
//! that may make it say more by itself.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use object::{Object, ObjectSection};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::ioctl_fionread;
use rustix::pipe::fcntl_getpipe_size;

use super::alone::{Alone, EVENTFD};
use super::proc;
use super::signals::hears_alarms;
use crate::cmd::why::see::process::epoll::Epoll;
use crate::cmd::why::see::process::{pids, sockets};
use crate::sock_diag::{self, Diag, State};

/// With more descriptors a look would take too long: then we do not know.
const MOST_WATCHED: usize = 8192;

/// So many numbers above and below the last descriptor are tried: as many connections as may be under way.
const NEAR: u32 = 16;

/// As many sockets, or programs, are remembered; then we begin again.
const MOST_KNOWN: usize = 1 << 16;

pub(super) struct Files {
    diag: Mutex<Diag>,
    /// Sockets known to be a server's clients, or a listener, by inode: a number is used again only after
    /// four thousand million others.
    clients: Mutex<HashSet<u64>>,
    /// Whether a process runs a Go program.
    go: Mutex<HashMap<u32, bool>>,
    /// By which descriptor a process held the last connection that was looked for.
    last: Mutex<HashMap<u32, u32>>,
}

impl Files {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            diag: Mutex::new(Diag::open()?),
            clients: Mutex::default(),
            go: Mutex::default(),
            last: Mutex::default(),
        })
    }

    /// The other end of a connection of ours, if somebody holds it.
    pub(super) fn peer_of(&self, own: u32) -> io::Result<Option<u32>> {
        Ok(locked(&self.diag).socket(own)?.peer_inode())
    }

    /// The descriptor by which a process holds a connection. A server that forgets its connections has
    /// thousands of them, and to read them all takes tens of milliseconds: its next has a number beside
    /// the last.
    pub(super) fn descriptor(&self, pid: u32, inode: u32) -> Option<u32> {
        let name = socket_name(inode);
        let last = locked(&self.last).get(&pid).copied();
        // The nearest first.
        let near = last.and_then(|last| {
            let mut near = (0..=NEAR).flat_map(|by| [last.checked_add(by), last.checked_sub(by)]);
            near.find_map(|number| number.filter(|&number| is_socket(pid, number, &name)))
        });
        let found = near.or_else(|| descriptor(pid, &name))?;
        remember(&self.last, pid, found);
        Some(found)
    }

    /// Whether a descriptor of a process brings nothing but what clients do, and what it does itself by what it
    /// alone is to have.
    pub(super) fn is_clients(&self, pid: u32, fd: u32, alone: &mut Alone) -> bool {
        let Ok(link) = fs::read_link(format!("/proc/{pid}/fd/{fd}")) else { return false };
        let Some(link) = link.to_str() else { return false };
        match numbered(link) {
            Some(("socket", inode)) => self.is_client_socket(pid, inode, alone),
            Some(("pipe", _)) if is_log(pid, fd) => true,
            // It wakes itself, if it holds both ends.
            Some(("pipe", _)) => {
                alone.has_link(link);
                count(pid, link) >= 2
            }
            _ if link == EVENTFD => alone.has_eventfd(pid, fd),
            _ => link == "anon_inode:[signalfd]" && !hears_alarms(pid, fd),
        }
    }

    /// The same of all that an epoll watches.
    pub(super) fn are_all_clients(&self, pid: u32, epoll: u32, alone: &mut Alone) -> bool {
        let Some(epoll) = Epoll::read(pid, epoll) else { return false };
        let known = |inode| locked(&self.clients).contains(&inode);
        epoll.watched.len() <= MOST_WATCHED
            && (epoll.watched.iter())
                .all(|one| known(one.inode) || self.is_clients(pid, one.fd, alone))
    }

    fn is_client_socket(&self, pid: u32, inode: u64, alone: &mut Alone) -> bool {
        if locked(&self.clients).contains(&inode) {
            return true;
        }
        let short = u32::try_from(inode).unwrap_or(u32::MAX);
        let socket = locked(&self.diag).socket(short);
        let is_client = match socket {
            Ok(socket) if socket.state == State::Listening => true,
            // An accepted socket bears the name of its listener. One that was connected has none, or its own.
            Ok(socket) if !socket.name.is_empty() => self.is_listened_at(&socket.name),
            // A pair of its own, by which it wakes itself.
            Ok(socket) => {
                let Some(peer) = socket.peer_inode() else { return false };
                alone.has_link(&socket_name(peer));
                alone.has_link(&socket_name(short));
                return descriptor(pid, &socket_name(peer)).is_some();
            }
            Err(_) => listens_at_a_port(pid, inode),
        };
        if is_client {
            let mut clients = locked(&self.clients);
            if clients.len() >= MOST_KNOWN {
                clients.clear();
            }
            clients.insert(inode);
        }
        is_client
    }

    fn is_listened_at(&self, name: &[u8]) -> bool {
        let listeners = locked(&self.diag).listeners();
        listeners.is_ok_and(|all| all.iter().any(|one| one.name == name))
    }

    pub(super) fn is_go(&self, pid: u32) -> bool {
        if let Some(&known) = locked(&self.go).get(&pid) {
            return known;
        }
        let program = fs::read(format!("/proc/{pid}/exe")).unwrap_or_default();
        let is_go = object::File::parse(&*program).is_ok_and(|program| {
            program.sections().any(|one| one.name().is_ok_and(|name| name == ".go.buildinfo"))
        });
        remember(&self.go, pid, is_go);
        is_go
    }
}

/// What can be known of the server that listens at a path, without connecting: to connect and close
/// ends a Node server that has no handler for errors.
pub(crate) enum Behind {
    /// Its processes can be looked into. The user that its clients will seem to be is our own.
    Seen,
    /// It listens, and its processes cannot be looked into.
    Hidden,
    NobodyListens,
}

/// What is known of the server at a path.
pub(crate) fn behind(path: &Path) -> io::Result<Behind> {
    let name = path.as_os_str().as_bytes();
    let abstract_name = name.strip_prefix(b"@").map(|name| [b"\0", name].concat());
    let name = abstract_name.as_deref().unwrap_or(name);
    let all = sock_diag::dump()?;
    let listener = all.iter().find(|one| one.state == State::Listening && one.name == name);
    let Some(listener) = listener else { return Ok(Behind::NobodyListens) };
    let holds = |pid: &u32| {
        sockets(*pid).is_ok_and(|sockets| {
            sockets.iter().any(|one| one.0 == listener.inode || one.1 == listener.inode)
        })
    };
    Ok(match pids()?.iter().any(holds) {
        true => Behind::Seen,
        false => Behind::Hidden,
    })
}

/// Whether an epoll watches this descriptor of its process.
pub(super) fn watches(pid: u32, epoll: u32, fd: u32) -> bool {
    let epoll = Epoll::read(pid, epoll);
    epoll.is_some_and(|epoll| epoll.watched.iter().any(|one| one.fd == fd))
}

/// The descriptor by which a process holds a socket of this name.
fn descriptor(pid: u32, name: &str) -> Option<u32> {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let mut numbers = all.flatten().filter_map(|one| one.file_name().to_str()?.parse().ok());
    numbers.find(|&number| is_socket(pid, number, name))
}

/// As /proc names it.
fn socket_name(inode: u32) -> String {
    format!("socket:[{inode}]")
}

/// Whether that is what a process has there.
fn is_socket(pid: u32, number: u32, name: &str) -> bool {
    fs::read_link(format!("/proc/{pid}/fd/{number}"))
        .is_ok_and(|link| link.as_os_str().as_bytes() == name.as_bytes())
}

fn count(pid: u32, link: &str) -> usize {
    let Ok(all) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let is_it =
        |one: &fs::DirEntry| fs::read_link(one.path()).is_ok_and(|it| it == Path::new(link));
    all.flatten().filter(is_it).count()
}

/// A pipe that the process only writes to, and that has room: nothing comes from it. Go watches its standard
/// error if that is one, and in non-blocking mode.
fn is_log(pid: u32, fd: u32) -> bool {
    let flags = proc::of_descriptor(pid, fd, "flags:");
    // The two lowest bits: `O_WRONLY` is 1.
    let flags = flags.and_then(|flags| u32::from_str_radix(&flags, 8).ok());
    let path = format!("/proc/{pid}/fd/{fd}");
    let has_room = || {
        let pipe =
            open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let (unread, size) = (ioctl_fionread(&pipe).ok()?, fcntl_getpipe_size(&pipe).ok()?);
        Some(usize::try_from(unread).ok()? <= size / 2)
    };
    flags.is_some_and(|flags| flags & 0b11 == 1) && has_room() == Some(true)
}

/// A listener of TCP: the columns of /proc/PID/net/tcp are explained in the kernel's
/// `proc_net_tcp.txt`.
fn listens_at_a_port(pid: u32, inode: u64) -> bool {
    const LISTEN: &str = "0A";
    let inode = inode.to_string();
    ["tcp", "tcp6"].iter().any(|table| {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        table.lines().any(|line| {
            let columns: Vec<_> = line.split_ascii_whitespace().collect();
            columns.get(3) == Some(&LISTEN) && columns.get(9) == Some(&&*inode)
        })
    })
}

/// A link as `socket:[4711]`.
fn numbered(link: &str) -> Option<(&str, u64)> {
    let (kind, number) = link.split_once(":[")?;
    Some((kind, number.strip_suffix(']')?.parse().ok()?))
}

fn remember<T>(known: &Mutex<HashMap<u32, T>>, pid: u32, of_it: T) {
    let mut known = locked(known);
    if known.len() >= MOST_KNOWN {
        known.clear();
    }
    known.insert(pid, of_it);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A look at a server that had forgotten 10,000 connections took 60 ms, and each exchange has some.
    #[test]
    fn the_next_connection_is_found_beside_the_last() {
        let files = Files::new().unwrap();
        let pid = std::process::id();
        let look = |socket: &UnixStream| {
            let number = socket.as_raw_fd();
            let path = format!("/proc/{pid}/fd/{number}");
            let inode = u32::try_from(fs::metadata(path).unwrap().ino()).unwrap();
            (files.descriptor(pid, inode), u32::try_from(number).ok())
        };
        let far: Vec<_> = (0..40).map(|_| UnixStream::pair().unwrap()).collect();
        // The one after the last, and one that is too far from it.
        for socket in [&far[0].0, &far[0].1, &far[39].0, &far[38].1, &far[1].0] {
            let (found, expected) = look(socket);
            assert_eq!(found, expected);
        }
        assert_eq!(files.descriptor(pid, u32::MAX), None);
    }
}
