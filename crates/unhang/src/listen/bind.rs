//! How a socket is made, or taken over from a running server.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::limits;
use crate::listen::address::Address;
use crate::listen::control::Control;
use crate::listen::file::{self, SocketFile};
use crate::listen::listener::Listener;
use crate::listen::replace::{self, ListenerParts};

/// How to create a listening socket.
///
/// ```no_run
/// # fn main() -> Result<(), unhang::Error> {
/// let listener = unhang::Bind::new("/run/app.sock").mode(0o600).listen()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing listens before `listen` is called"]
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
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The user id that is to own the file.
    pub fn owner(self, uid: u32) -> Self {
        Self { owner: Some(uid), ..self }
    }

    /// The group id that is to own the file.
    pub fn group(self, gid: u32) -> Self {
        Self { group: Some(gid), ..self }
    }

    /// The length of the accept queue; 4096 unless set. The kernel lowers it to net.core.somaxconn.
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
    pub fn replace(self, replace: bool) -> Self {
        Self { replace, ..self }
    }

    /// Whether another server can take the socket over. It asks at a second socket, whose name is the
    /// first one's with `.ctl` after it; for a socket that no [`Server`](crate::Server) serves, a
    /// process that asks there would get no answer. A name of more than 103 bytes has no room for these four, and
    /// something else may have that other name: then the server serves, and cannot be replaced.
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
    /// [`Occupied`](crate::ErrorKind::Occupied), [`UnsafeDirectory`](crate::ErrorKind::UnsafeDirectory) or
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
                if let Some((parts, old_server)) = replace::ask(address)? {
                    let mut listener = Listener::new(parts, address.clone(), false);
                    listener.replaces(old_server, self.backlog);
                    return Ok(listener);
                }
            }
            let Some(path) = address.path() else { break None };
            // It is looked at again under the lock; but the lock's file would stay beside what is not ours.
            file::is_there(address, path)?;
            match file::lock(address, path) {
                // A server holds the lock and cannot be asked: it has just been replaced by one that is
                // gone already, and is about to let go.
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
        // From here on a drop removes the files again.
        let parts = ListenerParts { socket, file, control: None, lock };
        let mut listener = Listener::new(parts, address.clone(), true);
        if self.replaceable {
            listener.add_control(Control::new(address)?);
        }
        if let Some(file) = listener.file() {
            self.set_owner(file, address)?;
        }
        listener.listen(self.backlog.unwrap_or(limits::BACKLOG))?;
        Ok(listener)
    }

    /// By descriptor, and not by name: another user that may write to the directory could have put a file of
    /// somebody else's there meanwhile.
    fn set_owner(&self, file: &SocketFile, address: &Address) -> Result<(), Error> {
        let failed = |step: &str| {
            let step = format!("give the socket its {step}");
            move |error: io::Error| Error::setup(address, step, error)
        };
        // The umask has narrowed the mode at the bind. First this: afterwards the file may be another user's.
        file.set_mode(self.mode).map_err(failed("mode"))?;
        if self.owner.is_some() || self.group.is_some() {
            file.set_owner(self.owner, self.group).map_err(failed("owner"))?;
        }
        Ok(())
    }
}
