//! The socket file: proved to be ours before it is touched, and removed only while it still is.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Error, ErrorKind};
use crate::listen::address::{Address, shown};
use crate::listen::owner;

/// Which file it is, whatever its name: a name may lead to another file by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Identity {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|file| Self { device: file.dev(), inode: file.ino() })
    }
}

/// A socket file that a server has made.
#[derive(Clone, Debug)]
pub(crate) struct SocketFile {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
}

impl SocketFile {
    /// Removes it, if the name still leads to it.
    fn remove(&self) {
        if Identity::of(&self.path).is_ok_and(|now| now == self.identity) {
            // If it cannot be removed it is stale, and the next start clears it away.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Gives it these permission bits.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let (file, _) = self.open()?;
        // An O_PATH descriptor is no file to fchmod(2): its link in /proc leads to the very file.
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(link, fs::Permissions::from_mode(mode)).map_err(|error| {
            match error.kind() == io::ErrorKind::NotFound && !Path::new("/proc/self").exists() {
                true => io::Error::other("/proc is not mounted: mount -t proc proc /proc"),
                false => error,
            }
        })
    }

    /// Gives it to this user and group. Only a file that this process has just made is given away.
    pub(crate) fn set_owner(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        let (file, found) = self.open()?;
        if found.uid() != rustix::process::geteuid().as_raw() || found.nlink() != 1 {
            return Err(io::Error::other(format!(
                "the file there belongs to user {} and has {} names: expected our own, with one",
                found.uid(),
                found.nlink()
            )));
        }
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        Ok(rustix::fs::chownat(file, "", user, group, AtFlags::EMPTY_PATH)?)
    }

    /// Opens the file itself, and no other that has its name by now.
    fn open(&self) -> io::Result<(File, fs::Metadata)> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&self.path, flags, Mode::empty())?);
        let found = file.metadata()?;
        let identity = Identity { device: found.dev(), inode: found.ino() };
        if identity != self.identity || !found.file_type().is_socket() {
            let complaint = "another process has put another file there, which is left as it is";
            return Err(io::Error::other(complaint));
        }
        Ok((file, found))
    }

    /// Whether a process still has the socket that was bound to it.
    fn is_alive(&self) -> bool {
        let address = Address::new(&self.path);
        address.is_ok_and(|address| matches!(probe(&address), Ok(()) | Err(Errno::PROTOTYPE)))
    }
}

/// The files of a listener, and whether they end with it. Dropped after the listener is closed, it removes
/// them if nobody else has the socket: a child of this process may have inherited it, and serve.
#[derive(Debug)]
pub(crate) struct Files {
    all: Vec<SocketFile>,
    /// The process that they belong to; [`NOT_OURS`] if they belong to systemd, an old server or a
    /// successor. A child that was forked has a copy of this, and must not remove its parent's files.
    owner: AtomicU32,
}

/// No process has this number.
const NOT_OURS: u32 = 0;

impl Files {
    pub(crate) fn ours(all: Vec<SocketFile>) -> Self {
        Self { all, owner: AtomicU32::new(std::process::id()) }
    }

    pub(crate) fn not_ours(all: Vec<SocketFile>) -> Self {
        Self { all, owner: AtomicU32::new(NOT_OURS) }
    }

    /// One more that shares their fate.
    pub(crate) fn add(&mut self, file: Option<SocketFile>) {
        self.all.extend(file);
    }

    pub(crate) fn are_ours(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == std::process::id()
    }

    /// From now on they are this process's.
    pub(crate) fn take(&self) {
        self.owner.store(std::process::id(), Ordering::Relaxed);
    }

    /// The same, unless they are systemd's or another server's: for a child that serves the listener which
    /// its parent has made.
    pub(crate) fn inherit(&self) {
        if self.owner.load(Ordering::Relaxed) != NOT_OURS {
            self.take();
        }
    }

    pub(crate) fn leave(&self) {
        self.owner.store(NOT_OURS, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self) {
        self.all.iter().for_each(SocketFile::remove);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.are_ours() {
            self.all.iter().filter(|file| !file.is_alive()).for_each(SocketFile::remove);
        }
    }
}

/// A socket that is bound and does not yet listen, and its file unless the name is abstract.
pub(crate) fn bind(address: &Address, mode: u32) -> Result<(OwnedFd, Option<SocketFile>), Error> {
    let failed = |step: &str| {
        let step = format!("{step} the socket");
        move |error: Errno| Error::setup(address, step, error)
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(failed("create"))?;
    // Before the bind, which takes the mode from here: the file is never wider than meant.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode)).map_err(failed("chmod"))?;
    let name = address.to_kernel().map_err(failed("name"))?;
    rustix::net::bind(&socket, &name).map_err(|error| match error {
        // Only an abstract name gets here: for a path the lock and the probe came first.
        Errno::ADDRINUSE => Error::new(address, ErrorKind::Held { pid: owner::of_socket(address) }),
        error => failed("bind")(error),
    })?;
    let Some(path) = address.path() else { return Ok((socket, None)) };
    let identity =
        Identity::of(path).map_err(|error| Error::setup(address, "see the new socket", error))?;
    Ok((socket, Some(SocketFile { path: path.to_path_buf(), identity })))
}

/// Locks the file beside the socket, for life. Of several starters one gets it; a probe alone has a
/// gap between another's bind and its listen, in which a living server looks dead.
pub(crate) fn lock(address: &Address, path: &Path) -> Result<File, Error> {
    let directory = match path.parent() {
        Some(directory) if directory.as_os_str().is_empty() => Path::new("."),
        Some(directory) => directory,
        None => return Err(Error::new(address, ErrorKind::Occupied { by: "the root directory" })),
    };
    let unusable = |error| {
        let step = format!("use the directory {}", shown(directory));
        Error::setup(address, step, error)
    };
    let directory = fs::metadata(directory).map_err(unusable)?;
    if directory.is_dir() && directory.nlink() == 0 {
        let complaint = "it was deleted, and takes no new file. Change to another one";
        return Err(unusable(io::Error::other(complaint)));
    }
    let mode = directory.mode();
    if mode & 0o1002 == 0o0002 {
        return Err(Error::new(address, ErrorKind::UnsafeDirectory { mode: mode & 0o7777 }));
    }

    let name = lock_name(path);
    let failed = |error: Errno| match error {
        // The directory is there.
        Errno::NOENT => {
            let complaint = "its file system takes no new file, as /proc. Choose another directory";
            unusable(io::Error::other(complaint))
        }
        _ => Error::setup(address, format!("lock {}", shown(&name)), error),
    };
    // NONBLOCK: the open waits up to 45 s for a process that has a lease on the file (`F_SETLEASE`,
    // fcntl(2)), or for the other end of a named pipe.
    let flags = OFlags::RDWR
        | OFlags::CREATE
        | OFlags::CLOEXEC
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY;
    loop {
        let file =
            File::from(rustix::fs::open(&name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?);
        let kind = file
            .metadata()
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        if !kind.is_file() {
            let complaint =
                format!("it is {}, expected a regular file", describe(kind.file_type()));
            let step = format!("lock {}", shown(&name));
            return Err(Error::setup(address, step, io::Error::other(complaint)));
        }
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                let pid = owner::of_lock(&file).or_else(|| owner::of_socket(address));
                return Err(Error::new(address, ErrorKind::Held { pid }));
            }
            Err(error) => return Err(failed(error)),
        }
        // Somebody may have removed the name between our open and our lock: then we hold a lock
        // that nobody else will ever find.
        let locked = file.metadata().is_ok_and(|locked| {
            Identity::of(&name)
                .is_ok_and(|named| named == Identity { device: locked.dev(), inode: locked.ino() })
        });
        if locked {
            return Ok(file);
        }
    }
}

/// Leaves nothing beside a socket that is another program's. A process that opened the file before sees
/// that its name is gone, and begins again.
pub(crate) fn give_up(lock: File, path: &Path) {
    let _ = fs::remove_file(lock_name(path));
    drop(lock);
}

fn lock_name(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Makes sure, under the lock, that the path is free: removes a socket that nobody serves, and
/// nothing else.
pub(crate) fn make_way(address: &Address, path: &Path) -> Result<(), Error> {
    if !is_there(address, path)? {
        return Ok(());
    }
    match probe(address) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::CONNREFUSED) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::setup(address, "remove the stale socket", error))
            }
            _ => Ok(()),
        },
        // A datagram server took the connection, or a server of another type is bound.
        Ok(()) | Err(Errno::PROTOTYPE) => {
            Err(Error::new(address, ErrorKind::Held { pid: owner::of_socket(address) }))
        }
        Err(error) => Err(Error::setup(address, "see whether the socket is alive", error)),
    }
}

/// Whether a socket has this name. An error if something else has.
pub(crate) fn is_there(address: &Address, path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::setup(address, "see what is there", error)),
        Ok(file) if file.file_type().is_socket() => Ok(true),
        Ok(file) => {
            let by = describe(file.file_type());
            Err(Error::new(address, ErrorKind::Occupied { by }))
        }
    }
}

/// Asks the kernel whether anybody is bound to the path, without any server noticing: a datagram
/// socket can never connect to a stream socket, and the error says which of the two is there.
fn probe(address: &Address) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &address.to_kernel()?)
}

pub(crate) fn describe(kind: fs::FileType) -> &'static str {
    match kind {
        _ if kind.is_file() => "a regular file",
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_fifo() => "a named pipe",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(path: &Path) -> (OwnedFd, SocketFile) {
        let (socket, file) = bind(&Address::new(path).unwrap(), 0o600).unwrap();
        (socket, file.unwrap())
    }

    /// Regression: a child that was forked before its parent served removed the parent's socket when it
    /// ended.
    #[test]
    fn the_files_of_another_process_are_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (socket, file) = bound(&path);
        drop(socket);
        let files = Files::ours(vec![file]);
        files.owner.store(std::process::id() + 1, Ordering::Relaxed);
        drop(files);
        assert!(path.exists());
    }

    #[test]
    fn a_child_that_serves_what_its_parent_has_made_removes_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (socket, file) = bound(&path);
        drop(socket);
        let files = Files::ours(vec![file]);
        files.owner.store(std::process::id() + 1, Ordering::Relaxed);
        files.inherit();
        drop(files);
        assert!(!path.exists());
    }

    /// Regression: root's `serve --owner alice` in a directory of alice's gave her any file that she put in
    /// the place of the socket before the chown, and opened it to its group.
    #[test]
    fn a_file_that_was_put_in_the_place_of_the_socket_keeps_its_owner_and_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let other = directory.path().join("other");
        fs::write(&other, "").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        let (_socket, file) = bound(&path);
        let (_another, _) = bound(&directory.path().join("another"));

        let swaps: [&dyn Fn(); 3] = [
            &|| fs::rename(&other, &path).unwrap(),
            &|| std::os::unix::fs::symlink("other", &path).unwrap(),
            &|| fs::rename(directory.path().join("another"), &path).unwrap(),
        ];
        for swap in swaps {
            fs::remove_file(&path).unwrap();
            swap();
            let before = fs::metadata(&path).map(|file| (file.mode(), file.uid())).ok();
            assert!(file.set_mode(0o666).is_err());
            assert!(file.set_owner(Some(12_345), None).is_err());
            assert_eq!(fs::metadata(&path).map(|file| (file.mode(), file.uid())).ok(), before);
        }
    }

    #[test]
    fn a_socket_with_another_name_is_not_given_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (_socket, file) = bound(&path);
        fs::hard_link(&path, directory.path().join("link")).unwrap();
        let error = file.set_owner(Some(12_345), None).unwrap_err();
        assert!(error.to_string().contains("has 2 names"), "{error}");
    }
}
