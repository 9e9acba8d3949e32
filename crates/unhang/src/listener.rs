//! The socket file: proved to be ours before it is touched, and removed only while it still is.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};

use crate::address::Address;
use crate::error::{Error, ErrorKind};
use crate::holder;
use crate::limits;

/// How to create a listening socket.
///
/// ```no_run
/// # fn main() -> Result<(), unhang::Error> {
/// let listener = unhang::Bind::new("/run/app.sock").mode(0o600).listen()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Bind {
    name: std::path::PathBuf,
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
    backlog: i32,
}

impl Bind {
    /// A socket at a path, or under an abstract name written `@name`.
    pub fn new(name: impl AsRef<Path>) -> Self {
        Self {
            name: name.as_ref().to_path_buf(),
            mode: limits::MODE,
            owner: None,
            group: None,
            backlog: limits::BACKLOG,
        }
    }

    /// The permission bits of the file; 0660 unless set. An abstract name has none.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The user id that is to own the file.
    #[must_use]
    pub fn owner(self, uid: u32) -> Self {
        Self { owner: Some(uid), ..self }
    }

    /// The group id that is to own the file.
    #[must_use]
    pub fn group(self, gid: u32) -> Self {
        Self { group: Some(gid), ..self }
    }

    /// The length of the accept queue; the kernel lowers it to net.core.somaxconn.
    #[must_use]
    pub fn backlog(self, backlog: i32) -> Self {
        Self { backlog, ..self }
    }

    /// Creates the socket. From here on clients can connect, and wait in the accept queue.
    ///
    /// A socket that a dead server left is replaced; one that is alive, or whose state cannot be
    /// told, never is.
    ///
    /// # Errors
    /// [`ErrorKind::BadAddress`], [`Held`](ErrorKind::Held), [`Occupied`](ErrorKind::Occupied),
    /// [`UnsafeFolder`](ErrorKind::UnsafeFolder) or [`Setup`](ErrorKind::Setup).
    pub fn listen(self) -> Result<Listener, Error> {
        let address = Address::new(&self.name)?;
        let lock = match address.path() {
            Some(path) => {
                let lock = lock(&address, path)?;
                make_way(&address, path)?;
                Some(lock)
            }
            None => None,
        };
        let failed = |step: &str| {
            let step = format!("{step} the socket");
            let address = &address;
            move |error: Errno| Error::setup(address, step, error)
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(failed("create"))?;
        // Before the bind, which takes the mode from here: the file is never wider than meant.
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(self.mode)).map_err(failed("chmod"))?;
        let name = address.to_kernel().map_err(failed("name"))?;
        rustix::net::bind(&socket, &name).map_err(|error| match error {
            // Only an abstract name gets here: for a path the lock and the probe came first.
            Errno::ADDRINUSE => {
                Error::new(&address, ErrorKind::Held { pid: holder::of_socket(&address) })
            }
            error => failed("bind")(error),
        })?;
        let file = match address.path() {
            Some(path) => Some(
                Identity::of(path).map_err(|e| Error::setup(&address, "see the new socket", e))?,
            ),
            None => None,
        };
        // From here on dropping it removes the file again.
        let listener = Listener { socket, address, file, _lock: lock };
        listener.set_owner(&self)?;
        rustix::net::listen(&listener.socket, self.backlog)
            .map_err(|error| Error::setup(&listener.address, "listen on the socket", error))?;
        Ok(listener)
    }
}

/// A listening socket. Dropping it removes its file, if that is still its own.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    address: Address,
    file: Option<Identity>,
    /// Dropped last: until the file is gone nobody else may begin.
    _lock: Option<File>,
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Takes a connection from the accept queue, non-blocking like the listener itself.
    pub(crate) fn accept(&self) -> rustix::io::Result<OwnedFd> {
        rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }

    /// Whether somebody is in the accept queue.
    pub(crate) fn has_waiting(&self) -> bool {
        let mut asked = [PollFd::new(&self.socket, PollFlags::IN)];
        rustix::event::poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Waits with the runtime for something to accept. A descriptor of its own, as the runtime wants
    /// to own what it watches; and a stream's, as only that can be watched without accepting.
    pub(crate) fn watch(&self) -> io::Result<tokio::net::UnixStream> {
        tokio::net::UnixStream::from_std(self.socket.try_clone()?.into())
    }

    /// Lets nobody connect any more. Who is in the accept queue can still be accepted; closing the
    /// socket now would reset them.
    pub(crate) fn close_door(&self) {
        self.remove_file();
        // Fails only on a socket that does not listen, and then there is no door.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
    }

    /// The socket file and how to tell it from another; an abstract name has none.
    pub(crate) fn file(&self) -> Option<(&Path, Identity)> {
        self.address.path().zip(self.file)
    }

    fn remove_file(&self) {
        if let Some((path, file)) = self.file() {
            if Identity::of(path).is_ok_and(|now| now == file) {
                // If it cannot be removed it is stale, and the next start clears it away.
                let _ = fs::remove_file(path);
            }
        }
    }

    fn set_owner(&self, wanted: &Bind) -> Result<(), Error> {
        let Some(path) = self.address.path() else { return Ok(()) };
        if wanted.owner.is_some() || wanted.group.is_some() {
            std::os::unix::fs::chown(path, wanted.owner, wanted.group)
                .map_err(|error| Error::setup(&self.address, "give the socket its owner", error))?;
        }
        // The umask has narrowed the mode at the bind: widen it, now that the group is right.
        fs::set_permissions(path, fs::Permissions::from_mode(wanted.mode))
            .map_err(|error| Error::setup(&self.address, "give the socket its mode", error))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
    }
}

/// Which file it is, whatever its name: a name may lead to another file by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|file| Self { device: file.dev(), inode: file.ino() })
    }
}

/// Locks the file beside the socket, for life. Of several starters one gets it; a probe alone has a
/// gap between another's bind and its listen, in which a living server looks dead.
fn lock(address: &Address, path: &Path) -> Result<File, Error> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Err(Error::new(address, ErrorKind::Occupied { by: "the root folder" })),
    };
    let mode = fs::metadata(folder)
        .map_err(|error| {
            Error::setup(address, format!("use the folder {}", folder.display()), error)
        })?
        .mode();
    if mode & 0o1002 == 0o0002 {
        return Err(Error::new(address, ErrorKind::UnsafeFolder { mode: mode & 0o7777 }));
    }

    let name = lock_name(path);
    let failed = |error: Errno| Error::setup(address, format!("lock {}", name.display()), error);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        let file =
            File::from(rustix::fs::open(&name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?);
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                let pid = holder::of_lock(&file).or_else(|| holder::of_socket(address));
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

fn lock_name(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Makes sure, under the lock, that the path is free: removes a socket that nobody serves, and
/// nothing else.
fn make_way(address: &Address, path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::setup(address, "see what is there", error)),
        Ok(file) if !file.file_type().is_socket() => {
            let by = describe(file.file_type());
            return Err(Error::new(address, ErrorKind::Occupied { by }));
        }
        Ok(_) => {}
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
            Err(Error::new(address, ErrorKind::Held { pid: holder::of_socket(address) }))
        }
        Err(error) => Err(Error::setup(address, "see whether the socket is alive", error)),
    }
}

/// Asks the kernel whether anybody is bound to the path, without any server noticing: a datagram
/// socket can never connect to a stream socket, and the error says which of the two is there.
fn probe(address: &Address) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &address.to_kernel()?)
}

fn describe(kind: fs::FileType) -> &'static str {
    match kind {
        _ if kind.is_file() => "a regular file",
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_fifo() => "a named pipe",
        _ => "a device",
    }
}
