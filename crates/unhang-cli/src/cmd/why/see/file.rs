//! The socket's file: what it is, and whether anybody has it bound.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::file_id::id_of;
use super::path_bytes;
use super::vacant_path::VacantPath;
use crate::cmd::why::helper::Helper;
use crate::cmd::why::helper::question::Question;
use crate::sock_diag::FileId;

/// What a path leads to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SocketFile {
    #[serde(with = "path_bytes")]
    pub(crate) path: PathBuf,
    pub(crate) found: Found,
    pub(crate) bound: Bound,
    /// Where nothing is; None where something is.
    pub(crate) empty: Option<VacantPath>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Found {
    Socket {
        id: FileId,
        inode: u64,
        mode: u32,
        uid: u32,
        made: Option<SystemTime>,
        /// No directory has it any more: it is a mount of a file that was deleted.
        is_deleted: bool,
    },
    NotASocket(String),
    Missing,
    /// A directory on the way may not be searched.
    Denied,
    Unclear(String),
}

/// Whether somebody has the file bound, learned without his noticing: a datagram socket cannot
/// connect to a stream socket, and the kernel says which of the two is why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Bound {
    /// A stream socket, or one of sequenced packets.
    Stream,
    Datagram,
    Nobody,
    /// It takes write permission on the file to connect to it, and so to ask.
    Denied,
    Unclear,
}

impl SocketFile {
    /// In the helper: a directory on the path may lie on a file system that never answers.
    pub(crate) fn ask(path: &Path, helper: &Helper) -> Self {
        let name = path.as_os_str().as_bytes().to_vec();
        let this = std::process::id();
        helper.ask(this, &Question::SocketFile { path: name }).unwrap_or_else(|| Self {
            path: path.to_path_buf(),
            found: Found::Unclear("its file system did not answer in time".to_owned()),
            bound: Bound::Unclear,
            empty: None,
        })
    }

    pub(crate) fn look(path: &Path) -> Self {
        let found = found(path);
        let empty = matches!(found, Found::Missing).then(|| VacantPath::of(path)).flatten();
        Self { path: path.to_path_buf(), found, bound: bound(path), empty }
    }

    pub(crate) fn id(&self) -> Option<FileId> {
        match self.found {
            Found::Socket { id, .. } => Some(id),
            _ => None,
        }
    }
}

fn found(path: &Path) -> Found {
    let look = || {
        let file = File::from(open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
        Ok((file.metadata()?, id_of(&file, "self")?))
    };
    let (file, id) = match look() {
        Ok(found) => found,
        Err(error) => return not_found(&error),
    };
    let kind = file.file_type();
    if kind.is_socket() {
        Found::Socket {
            id,
            inode: file.ino(),
            mode: file.mode() & 0o7777,
            uid: file.uid(),
            // bind() makes the file, and nothing writes to it after.
            made: file.modified().ok(),
            is_deleted: file.nlink() == 0,
        }
    } else if kind.is_dir() {
        Found::NotASocket("a directory".to_owned())
    } else if kind.is_file() {
        Found::NotASocket("a regular file".to_owned())
    } else {
        Found::NotASocket("a device or a pipe".to_owned())
    }
}

fn not_found(error: &io::Error) -> Found {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Found::Missing,
        io::ErrorKind::PermissionDenied => Found::Denied,
        _ => Found::Unclear(error.to_string()),
    }
}

fn bound(path: &Path) -> Bound {
    let ask = || {
        let (address, _directory) = address(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        net::connect(&socket, &address)
    };
    match ask() {
        Ok(()) => Bound::Datagram,
        Err(Errno::PROTOTYPE) => Bound::Stream,
        Err(Errno::CONNREFUSED) => Bound::Nobody,
        Err(Errno::ACCESS) => Bound::Denied,
        Err(_) => Bound::Unclear,
    }
}

/// An address has room for 107 bytes. A server binds a longer path from the directory that it is in, and so it
/// is reached: through a descriptor of that, which is to stay open.
fn address(path: &Path) -> rustix::io::Result<(SocketAddrUnix, Option<OwnedFd>)> {
    match (SocketAddrUnix::new(path), path.parent(), path.file_name()) {
        (Err(Errno::NAMETOOLONG), Some(directory), Some(name)) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = open(directory, flags, Mode::empty())?;
            let below = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
            Ok((SocketAddrUnix::new(below.join(name))?, Some(directory)))
        }
        (address, ..) => Ok((address?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn the_holder_of_a_bound_file_is_told_without_noticing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        let listener = UnixListener::bind(path("stream")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let _datagram = UnixDatagram::bind(path("datagram")).unwrap();
        drop(UnixListener::bind(path("stale")).unwrap());
        fs::write(path("file"), "").unwrap();
        let bound = |name| SocketFile::look(&path(name)).bound;
        assert_eq!(bound("stream"), Bound::Stream);
        assert_eq!(bound("datagram"), Bound::Datagram);
        assert_eq!(bound("stale"), Bound::Nobody);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let found = |name| SocketFile::look(&path(name)).found;
        assert!(matches!(found("file"), Found::NotASocket(what) if what == "a regular file"));
        assert!(matches!(found("."), Found::NotASocket(what) if what == "a directory"));
        assert!(matches!(found("missing"), Found::Missing));
        assert!(matches!(found("file/below"), Found::Missing));
    }

    /// It was said to be in a network namespace that may not be looked into.
    #[test]
    fn a_stale_socket_at_a_path_that_no_address_has_room_for_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("d".repeat(120));
        fs::create_dir(&long).unwrap();
        let opened = File::open(&long).unwrap();
        let near = |name: &str| format!("/proc/self/fd/{}/{name}", opened.as_raw_fd());
        let _listener = UnixListener::bind(near("stream")).unwrap();
        drop(UnixListener::bind(near("stale")).unwrap());
        let bound = |name: &str| SocketFile::look(&long.join(name)).bound;
        assert_eq!((bound("stream"), bound("stale")), (Bound::Stream, Bound::Nobody));
    }
}
