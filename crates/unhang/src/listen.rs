//! The listening socket: made, taken over from a running server, or inherited.

pub(crate) mod address;
pub(crate) mod control;
mod dialog;
pub(crate) mod file;
pub(crate) mod owner;
pub(crate) mod replace;
pub(crate) mod watcher;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{Shutdown, SocketFlags};
use tokio::sync::Mutex;

use crate::error::{Error, ErrorKind};
use crate::limits;
use crate::listen::address::Address;
use crate::listen::control::Control;
use crate::listen::file::SocketFile;
use crate::listen::replace::{Estate, Predecessor};
use crate::passed_descriptors;

/// How to create a listening socket.
///
/// ```no_run
/// # fn main() -> Result<(), unhang::Error> {
/// let listener = unhang::Bind::new("/run/app.sock").mode(0o600).listen()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Bind {
    name: PathBuf,
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
    backlog: Option<i32>,
    replace: bool,
    replaceable: bool,
}

impl Bind {
    /// A socket at a path, or under an abstract name written `@name`.
    pub fn new(name: impl AsRef<Path>) -> Self {
        Self {
            name: name.as_ref().to_path_buf(),
            mode: limits::MODE,
            owner: None,
            group: None,
            backlog: None,
            replace: false,
            replaceable: true,
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

    /// The length of the accept queue; 4096 unless set. The kernel lowers it to net.core.somaxconn.
    #[must_use]
    pub fn backlog(self, backlog: i32) -> Self {
        Self { backlog: Some(backlog), ..self }
    }

    /// Takes the socket over from the unhang server that serves it now, if there is one, instead of
    /// refusing to start beside it: the way to upgrade. The file, its mode and its owner stay as they
    /// are, and so does the accept queue, but for its length, if that is set; nobody notices.
    ///
    /// The other server goes on until this one serves, and then finishes what it has under way. It
    /// must run as the same user. Between this and [`Server::serve`](crate::Server::serve) may be ten
    /// seconds: after that the other one goes on for good, and `serve` fails.
    #[must_use]
    pub fn replace(self, replace: bool) -> Self {
        Self { replace, ..self }
    }

    /// Whether another server can take the socket over. It asks at a second socket, whose name is the
    /// first one's with `.ctl` after it; for a socket that no [`Server`](crate::Server) serves, who
    /// asks there would get no answer. A name of more than 103 bytes has no room for these four, and
    /// something else may have that other name: then the server serves, and cannot be replaced.
    #[must_use]
    pub fn replaceable(self, replaceable: bool) -> Self {
        Self { replaceable, ..self }
    }

    /// Creates the socket. From here on clients can connect, and wait in the accept queue.
    ///
    /// A socket that a dead server left is replaced; one that is alive, or whose state cannot be
    /// told, never is.
    ///
    /// # Errors
    /// [`BadAddress`](crate::ErrorKind::BadAddress), [`Held`](crate::ErrorKind::Held),
    /// [`NotReplaceable`](crate::ErrorKind::NotReplaceable),
    /// [`NotHandedOver`](crate::ErrorKind::NotHandedOver),
    /// [`Occupied`](crate::ErrorKind::Occupied), [`UnsafeFolder`](crate::ErrorKind::UnsafeFolder) or
    /// [`Setup`](crate::ErrorKind::Setup).
    pub fn listen(self) -> Result<Listener, Error> {
        let address = Address::new(&self.name)?;
        self.listen_at(&address).map_err(|error| match error.kind() {
            &ErrorKind::Held { pid } if self.replace => {
                let why = Control::missing(&address);
                Error::new(&address, ErrorKind::NotReplaceable { pid, why })
            }
            _ => error,
        })
    }

    fn listen_at(&self, address: &Address) -> Result<Listener, Error> {
        let begun = Instant::now();
        let lock = loop {
            if self.replace {
                if let Some((estate, predecessor)) = replace::ask(address)? {
                    let mut listener =
                        Listener::new(estate, address.clone(), Some(predecessor), false);
                    listener.backlog = self.backlog;
                    return Ok(listener);
                }
            }
            let Some(path) = address.path() else { break None };
            // Looked at under the lock again; but the lock's file would stay beside what is not ours.
            file::is_there(address, path)?;
            match file::lock(address, path) {
                // Nobody can be asked and somebody holds the lock: a server that has just been
                // replaced by one that is gone already, and is about to let go.
                Err(error)
                    if self.replace
                        && matches!(error.kind(), ErrorKind::Held { .. })
                        && begun.elapsed() < limits::LET_GO =>
                {
                    std::thread::sleep(limits::LET_GO / 100);
                }
                lock => {
                    let lock = lock?;
                    if let Err(error) = file::make_way(address, path) {
                        file::give_up(lock, path);
                        return Err(error);
                    }
                    break Some(lock);
                }
            }
        };
        let (socket, file) = file::bind(address, self.mode)?;
        let control = if self.replaceable { Control::new(address) } else { None };
        // From here on dropping it removes the files again.
        let estate = Estate { socket, file, control, lock };
        let listener = Listener::new(estate, address.clone(), None, true);
        listener.set_owner(self)?;
        rustix::net::listen(&listener.estate.socket, self.backlog.unwrap_or(limits::BACKLOG))
            .map_err(|error| Error::setup(&listener.address, "listen on the socket", error))?;
        Ok(listener)
    }
}

/// A listening socket. Dropping it removes its file, if that is still its own.
#[derive(Debug)]
pub struct Listener {
    estate: Estate,
    address: Address,
    /// Who still serves until this one does.
    predecessor: Option<Predecessor>,
    /// What its queue's length is to be from then on, if not as it was.
    backlog: Option<i32>,
    /// Whether it ends with us: not while it belongs to a predecessor, a successor or systemd.
    ours: AtomicBool,
    /// Whether nobody can connect any more. Locked while it is not known whether a successor comes to
    /// serve.
    closed: Arc<Mutex<bool>>,
}

impl Listener {
    /// A socket that somebody else listens on and keeps, such as systemd for a socket unit. Its file
    /// is never removed, and who comes when it has stopped is left in its queue for the next to serve.
    ///
    /// # Errors
    /// [`Setup`](crate::ErrorKind::Setup) when it does not listen, or cannot be asked for its name.
    pub fn inherited(socket: UnixListener) -> Result<Self, Error> {
        let failed = |error: io::Error| {
            let unnamed = Address::unnamed();
            Error::setup(&unnamed, "use the inherited socket", error)
        };
        socket.set_nonblocking(true).map_err(failed)?;
        let address = Address::of_socket(&socket.local_addr().map_err(failed)?);
        let listens = rustix::net::sockopt::socket_acceptconn(&socket);
        if !listens.map_err(|error| failed(error.into()))? {
            // Nobody could connect, and nothing would ever say so.
            let complaint = "it does not listen: whoever passes it must have called listen()";
            let complaint = io::Error::other(complaint);
            return Err(Error::setup(&address, "use the inherited socket", complaint));
        }
        let estate = Estate { socket: socket.into(), file: None, control: None, lock: None };
        Ok(Self::new(estate, address, None, false))
    }

    fn new(estate: Estate, address: Address, predecessor: Option<Predecessor>, ours: bool) -> Self {
        passed_descriptors::refuse(&estate.socket);
        let ours = AtomicBool::new(ours);
        Self { estate, address, predecessor, backlog: None, ours, closed: Arc::default() }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Takes a connection from the accept queue, non-blocking like the listener itself.
    pub(crate) fn accept(&self) -> rustix::io::Result<OwnedFd> {
        rustix::net::accept_with(&self.estate.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }

    /// Whether somebody is in the accept queue.
    pub(crate) fn has_waiting(&self) -> bool {
        self.is_now(PollFlags::IN)
    }

    /// Whether nobody can connect any more: who shares it may shut it for all.
    pub(crate) fn is_shut(&self) -> bool {
        self.is_now(PollFlags::RDHUP)
    }

    fn is_now(&self, state: PollFlags) -> bool {
        let mut asked = [PollFd::new(&self.estate.socket, state)];
        rustix::event::poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Has a predecessor leave everything to this one, which can serve from now on. An error where that
    /// one goes on: then nothing of it all is ours. Blocks until that is known.
    pub(crate) fn serve_instead(&self) -> Result<(), Error> {
        if let Some(predecessor) = &self.predecessor {
            predecessor.take_leave(&self.address)?;
            self.ours.store(true, Ordering::Relaxed);
            if let Some(backlog) = self.backlog {
                // Nobody who waits is turned out by a shorter one. It fails only where it does not
                // listen: another has shut it, and nobody can connect whatever the length.
                let _ = rustix::net::listen(&self.estate.socket, backlog);
            }
        }
        Ok(())
    }

    pub(crate) fn control(&self) -> Option<&Control> {
        self.estate.control.as_ref()
    }

    /// Gives it all to the successor that asks over this stream. An error, and nothing has changed,
    /// when that one does not come to serve. Blocks until that is known.
    pub(crate) fn give_to(self: Arc<Self>, successor: &UnixStream) -> io::Result<()> {
        let closed = Arc::clone(&self.closed).blocking_lock_owned();
        let given = match *closed {
            false => replace::give(&self.estate, successor, replace::PATIENCE),
            // Nobody could connect to it any more. Told nothing, it asks again, and finds nobody.
            true => Err(io::Error::other("this server is stopping")),
        };
        if given.is_ok() {
            self.ours.store(false, Ordering::Relaxed);
        }
        // First this: whoever waits to close the door may be the end of the server, and the socket and
        // its lock must not outlive that.
        drop(self);
        drop(closed);
        given
    }

    /// Whether it ends with us.
    pub(crate) fn is_ours(&self) -> bool {
        self.ours.load(Ordering::Relaxed)
    }

    /// Lets nobody connect any more. Who is in the accept queue can still be accepted; closing the
    /// socket now would reset them. False where it goes on with somebody else, and so stays open.
    pub(crate) async fn close_door(&self) -> bool {
        // A successor that has the socket already, and is about to say so, must find it open.
        let mut closed = self.closed.lock().await;
        if self.is_ours() {
            *closed = true;
            self.remove_files();
            // Fails only on a socket that does not listen, and then there is no door.
            let _ = rustix::net::shutdown(&self.estate.socket, Shutdown::Read);
        }
        self.is_ours()
    }

    /// The socket file; an abstract name has none, and an inherited socket's is not ours.
    pub(crate) fn file(&self) -> Option<&SocketFile> {
        self.estate.file.as_ref()
    }

    fn remove_files(&self) {
        if let Some(file) = &self.estate.file {
            file.remove();
        }
        if let Some(control) = &self.estate.control {
            control.remove();
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

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.estate.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.is_ours() {
            self.remove_files();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// It was: a successor that asked while its predecessor stopped served a socket that nobody could
    /// connect to.
    #[test]
    fn a_listener_whose_door_is_closed_is_given_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let listener = Arc::new(Bind::new(folder.path().join("s")).listen().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(listener.close_door()), "it is its own");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        let error = listener.give_to(&ours).unwrap_err();
        assert_eq!(error.to_string(), "this server is stopping");
        drop(ours);
        assert_eq!(theirs.read_to_end(&mut Vec::new()).unwrap(), 0, "it is told nothing");
    }
}
