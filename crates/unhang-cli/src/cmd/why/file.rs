//! The socket's file: what it is, and whether anybody has it bound.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, major, minor, open, openat2, statx,
};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::place::Place;
use crate::sock_diag::FileId;

/// What a path leads to.
#[derive(Clone, Debug)]
pub(crate) struct SocketFile {
    pub(crate) path: PathBuf,
    pub(crate) found: Found,
    pub(crate) bound: Bound,
    /// Where nothing is; None where something is.
    pub(crate) empty: Option<Place>,
}

#[derive(Clone, Debug)]
pub(crate) enum Found {
    Socket {
        id: FileId,
        inode: u64,
        mode: u32,
        uid: u32,
        made: Option<SystemTime>,
    },
    NotASocket(&'static str),
    Missing,
    /// A folder on the way may not be searched.
    Denied,
    Unclear(String),
}

/// Whether somebody has the file bound, learned without his noticing: a datagram socket cannot
/// connect to a stream socket, and the kernel says which of the two is why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub(crate) fn look(path: &Path) -> Self {
        let found = found(path);
        let empty = matches!(found, Found::Missing).then(|| Place::of(path)).flatten();
        Self { path: path.to_path_buf(), found, bound: bound(path), empty }
    }

    pub(crate) fn id(&self) -> Option<FileId> {
        match self.found {
            Found::Socket { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// The kernel's own numbers for the file that the name of a socket leads one process to.
pub(crate) fn id_as_seen_by(pid: u32, name: &[u8]) -> io::Result<FileId> {
    id_of(&open_as_seen_by(pid, name)?, &pid.to_string())
}

/// The file that the name of a socket leads one process to, which may have another root than we, or
/// a folder to begin at. As `connect()` does, this follows links; and they, too, are the process's: an
/// absolute one begins at its root.
pub(crate) fn open_as_seen_by(pid: u32, name: &[u8]) -> io::Result<File> {
    let begin = match name.first() {
        Some(0) | None => return Err(io::ErrorKind::InvalidInput.into()),
        // `/proc/self` would be ourselves.
        Some(b'/') if name.starts_with(b"/proc/") => {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Some(b'/') => "root",
        Some(_) => "cwd",
    };
    // That this is not to be found says nothing of what lies below it.
    let ended = |_| io::Error::from(io::ErrorKind::Unsupported);
    let folder = File::open(format!("/proc/{pid}/{begin}")).map_err(ended)?;
    // Below a current folder, nothing tells where the root is: plain, and links are taken as ours.
    let within = if begin == "root" { ResolveFlags::IN_ROOT } else { ResolveFlags::empty() };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(openat2(folder, OsStr::from_bytes(name), flags, Mode::empty(), within)?.into())
}

/// The kernel's own numbers for a file, as a process sees it that is given as in /proc.
pub(crate) fn id_of(file: &File, process: &str) -> io::Result<FileId> {
    let status = file.metadata()?;
    // The kernel tells no more of it.
    #[allow(clippy::cast_possible_truncation)]
    let inode = status.ino() as u32;
    let device = (major(status.dev()), minor(status.dev()));
    let (major, minor) = mounted_device(file, process).unwrap_or(device);
    Ok(FileId { inode, major, minor })
}

/// The device of the file system as a whole. For a file of btrfs, or of some overlays, `stat()` gives
/// another, of its own making.
fn mounted_device(file: &File, process: &str) -> Option<(u32, u32)> {
    let status = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let is_known = status.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    let mount = is_known.then(|| status.stx_mnt_id.to_string())?;
    device_of(&mount, &fs::read_to_string(format!("/proc/{process}/mountinfo")).ok()?)
}

/// The third column of the mount's line: `MOUNT PARENT MAJOR:MINOR ROOT …`, `proc_pid_mountinfo(5)`.
fn device_of(mount: &str, mounts: &str) -> Option<(u32, u32)> {
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let line = lines.find(|columns| columns.first() == Some(&mount))?;
    let (major, minor) = line.get(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
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
        }
    } else if kind.is_dir() {
        Found::NotASocket("a folder")
    } else if kind.is_file() {
        Found::NotASocket("a regular file")
    } else {
        Found::NotASocket("a device or a pipe")
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
    use rustix::io::Errno;
    let ask = || {
        let address = SocketAddrUnix::new(path)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn who_has_a_file_bound_is_told_without_his_noticing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
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
        assert!(matches!(found("file"), Found::NotASocket("a regular file")));
        assert!(matches!(found("."), Found::NotASocket("a folder")));
        assert!(matches!(found("missing"), Found::Missing));
        assert!(matches!(found("file/below"), Found::Missing));
    }

    #[test]
    fn a_mounts_device_is_found_by_its_number() {
        let mounts = "29 1 0:25 / / rw - btrfs /dev/vda rw\n30 29 254:1 / /run rw - tmpfs t rw\n";
        assert_eq!(device_of("30", mounts), Some((254, 1)));
        assert_eq!(device_of("29", mounts), Some((0, 25)));
        for other in ["3", "31", ""] {
            assert_eq!(device_of(other, mounts), None);
        }
        for garbled in ["30", "30 29", "30 29 x:1", "30 29 254", "\n\n"] {
            assert_eq!(device_of("30", garbled), None, "{garbled}");
        }
    }

    #[test]
    fn the_kernel_and_the_file_system_give_a_socket_the_same_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let name = path.as_os_str().as_bytes();
        let expected = Some(id_as_seen_by(std::process::id(), name).unwrap());
        let sockets = crate::sock_diag::dump().unwrap();
        assert!(sockets.iter().any(|socket| socket.file == expected));
    }
}
