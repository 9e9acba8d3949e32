//! A listening socket, and what becomes of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{Shutdown, SocketFlags};

use crate::error::Error;
use crate::listen::address::Address;
use crate::listen::control::{self, Answering, Asked, Control};
use crate::listen::file::{Files, SocketFile};
use crate::listen::replace::{self, Given, ListenerParts, OldServer};
use crate::passed_descriptors;

/// No client can pass descriptors: the kernel refuses them.
const NEVER: u8 = 0;
/// Only those that connected before the kernel was told to refuse them. They come first.
const AT_FIRST: u8 = 1;
/// The kernel cannot refuse them.
const ALWAYS: u8 = 2;

/// A client that was taken from the accept queue.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: OwnedFd,
    /// Whether it has to be read by [`passed_descriptors::peek`], and closed by
    /// [`passed_descriptors::close_elsewhere`].
    pub(crate) may_bring_descriptors: bool,
}

/// A listening socket. Dropping it removes its file, if that is still its own and no other process has the
/// socket.
#[derive(Debug)]
#[must_use = "a listener that is dropped closes its socket and removes its file"]
pub struct Listener {
    address: Address,
    /// Serves until this one does.
    old_server: Option<OldServer>,
    /// The length that the queue of the old server is to have from then on, if not as it was.
    backlog: Option<i32>,
    /// Whether nobody can connect any more. Locked while a successor is asked whether it comes to serve.
    closed: Arc<Mutex<bool>>,
    /// Whether a successor has it, too.
    is_shared: AtomicBool,
    /// Which clients may have passed descriptors along: [`ALWAYS`], [`AT_FIRST`] or [`NEVER`].
    passing: AtomicU8,
    // Dropped in this order: the files are removed if nobody has the socket any more, and until they are
    // gone no other process may begin.
    control: Option<Arc<Control>>,
    socket: OwnedFd,
    file: Option<SocketFile>,
    files: Files,
    lock: Option<File>,
}

impl Listener {
    /// A socket that another process listens on and keeps, such as systemd for a socket unit. Its file is
    /// never removed, and a client that comes when the server has stopped is left in its queue for the
    /// next one to serve.
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
        if !is_listening(&socket) {
            // Nobody could connect, and nothing would ever say so.
            let complaint = "it does not listen: whoever passes it must have called listen()";
            let complaint = io::Error::other(complaint);
            return Err(Error::setup(&address, "use the inherited socket", complaint));
        }
        let parts = ListenerParts { socket: socket.into(), file: None, control: None, lock: None };
        Ok(Self::new(parts, address, false))
    }

    pub(super) fn new(parts: ListenerParts, address: Address, ours: bool) -> Self {
        let passing = match passed_descriptors::refuse(&parts.socket) {
            false => ALWAYS,
            // Its clients may have connected before.
            true if is_listening(&parts.socket) => AT_FIRST,
            true => NEVER,
        };
        let control_file = parts.control.as_ref().and_then(|control| control.file.clone());
        let all = parts.file.iter().cloned().chain(control_file).collect();
        Self {
            address,
            old_server: None,
            backlog: None,
            closed: Arc::default(),
            is_shared: AtomicBool::new(false),
            passing: AtomicU8::new(passing),
            control: parts.control.map(Arc::new),
            socket: parts.socket,
            file: parts.file,
            files: if ours { Files::ours(all) } else { Files::not_ours(all) },
            lock: parts.lock,
        }
    }

    /// It takes the place of this server once it serves; then the queue gets this length, if any.
    pub(super) fn replaces(&mut self, old_server: OldServer, backlog: Option<i32>) {
        (self.old_server, self.backlog) = (Some(old_server), backlog);
    }

    /// Begins to listen: clients can connect.
    pub(super) fn listen(&self, backlog: i32) -> Result<(), Error> {
        rustix::net::listen(&self.socket, backlog)
            .map_err(|error| Error::setup(&self.address, "listen on the socket", error))
    }

    pub(super) fn add_control(&mut self, control: Option<Control>) {
        self.files.add(control.as_ref().and_then(|control| control.file.clone()));
        self.control = control.map(Arc::new);
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Takes a connection from the accept queue, non-blocking like the listener itself, and tells whether its
    /// client may have passed descriptors along.
    pub(crate) fn accept_client(&self) -> rustix::io::Result<Accepted> {
        // Before the accept: once a client is accepted that cannot pass any, one that was accepted before it
        // may still have to be looked at.
        let passing = self.passing.load(Ordering::Acquire);
        if self.is_shared.load(Ordering::Relaxed) {
            // The flag is the socket's, and another process that has it may clear it (O_NONBLOCK, fcntl(2)).
            rustix::io::ioctl_fionbio(&self.socket, true)?;
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::accept_with(&self.socket, flags)?;
        let may_bring_descriptors = match passing {
            NEVER => false,
            AT_FIRST if passed_descriptors::are_refused(&socket) => {
                self.passing.store(NEVER, Ordering::Release);
                false
            }
            _ => {
                passed_descriptors::refuse_more(&socket);
                true
            }
        };
        Ok(Accepted { socket, may_bring_descriptors })
    }

    /// Whether a client is in the accept queue.
    pub(crate) fn has_waiting(&self) -> bool {
        self.is_now(PollFlags::IN)
    }

    /// Whether nobody can connect any more: a process that shares the listener can shut it for all.
    pub(crate) fn is_shut(&self) -> bool {
        self.is_now(PollFlags::RDHUP)
    }

    fn is_now(&self, state: PollFlags) -> bool {
        let mut asked = [PollFd::new(&self.socket, state)];
        rustix::event::poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Makes the old server leave everything to this one, which can serve from now on. An error if the old
    /// one goes on: then nothing of it all is ours. Blocks until that is known.
    pub(crate) fn serve_instead(&self) -> Result<(), Error> {
        self.files.inherit();
        if let Some(old_server) = &self.old_server {
            old_server.take_leave(&self.address)?;
            self.files.take();
            if let Some(backlog) = self.backlog {
                // A shorter queue turns no client out that waits already. It fails only if it does not
                // listen: another process has shut it, and nobody can connect whatever the length.
                let _ = rustix::net::listen(&self.socket, backlog);
            }
        }
        Ok(())
    }

    /// Answers at the control socket, on a thread of its own, until the result is dropped. `None` if the
    /// listener has no control socket.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn answer(
        self: &Arc<Self>,
        asked: Weak<dyn Asked>,
    ) -> io::Result<Option<Answering>> {
        let Some(control) = &self.control else { return Ok(None) };
        let listener = Arc::downgrade(self);
        let give = move |successor: &UnixStream| {
            let listener = listener.upgrade().ok_or_else(control::stopping)?;
            listener.give_to(successor)
        };
        control::answer(Arc::clone(control), give, asked).map(Some)
    }

    /// Gives it all to the successor that asks over this stream. An error, and nothing has changed, if the
    /// successor does not come to serve. Blocks until that is known.
    fn give_to(self: Arc<Self>, successor: &UnixStream) -> io::Result<()> {
        let closed = Arc::clone(&self.closed);
        let closed = closed.lock().unwrap_or_else(PoisonError::into_inner);
        let control = self.control.as_ref().and_then(|control| control.socket());
        let given = match (control, *closed) {
            (Some(control), false) => {
                let given = Given {
                    socket: self.socket.as_fd(),
                    file: self.file.as_ref().map(|file| file.identity),
                    control: control.as_fd(),
                    lock: self.lock.as_ref().map(AsFd::as_fd),
                };
                self.is_shared.store(true, Ordering::Relaxed);
                replace::give(&given, successor, replace::PATIENCE)
            }
            // Nobody could connect to it any more. The successor is told nothing, asks again, and finds no
            // server.
            _ => Err(control::stopping()),
        };
        if given.is_ok() {
            self.files.leave();
        }
        // First this: the end of the server may wait for the lock below, and the socket and the lock of
        // the file must not outlive that.
        drop(self);
        drop(closed);
        given
    }

    /// Whether it ends with this process.
    pub(crate) fn is_ours(&self) -> bool {
        self.files.are_ours()
    }

    /// Lets nobody connect any more. A client that is in the accept queue can still be accepted; to close
    /// the socket now would reset it. False if it goes on with another process, and so stays open. `None`
    /// while a successor has been given the listener and has not said that it serves: it must find it open.
    pub(crate) fn try_close_door(&self) -> Option<bool> {
        let mut closed = match self.closed.try_lock() {
            Err(TryLockError::WouldBlock) => return None,
            Err(TryLockError::Poisoned(closed)) => closed.into_inner(),
            Ok(closed) => closed,
        };
        if self.is_ours() {
            *closed = true;
            self.files.remove();
            // Fails only on a socket that does not listen, and then there is no door.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
        } else {
            self.is_shared.store(true, Ordering::Relaxed);
        }
        Some(self.is_ours())
    }

    /// The socket file; an abstract name has none, and an inherited socket's is not ours.
    pub(crate) fn file(&self) -> Option<&SocketFile> {
        self.file.as_ref()
    }
}

fn is_listening(socket: impl AsFd) -> bool {
    rustix::net::sockopt::socket_acceptconn(socket).unwrap_or(false)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The thread that answers there must not keep it open.
        if let Some(control) = &self.control {
            control.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::listen::Bind;

    /// Regression: a successor that asked while the old server stopped served a socket that nobody could
    /// connect to.
    #[test]
    fn a_listener_whose_door_is_closed_is_given_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let listener = Arc::new(Bind::new(directory.path().join("s")).listen().unwrap());
        assert_eq!(listener.try_close_door(), Some(true), "it is its own");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        let error = listener.give_to(&ours).unwrap_err();
        assert_eq!(error.to_string(), "this server is stopping");
        drop(ours);
        assert_eq!(theirs.read_to_end(&mut Vec::new()).unwrap(), 0, "it is told nothing");
    }

    /// Regression: the parent's drop removed the socket of a child that had inherited it and served.
    #[test]
    fn a_socket_that_another_process_still_has_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = Bind::new(&path).listen().unwrap();
        let inherited = Stdio::from(listener.as_fd().try_clone_to_owned().unwrap());
        let mut child = Command::new("sleep").arg("60").stdin(inherited).spawn().unwrap();
        drop(listener);
        assert!(path.exists(), "the child has the socket");
        child.kill().unwrap();
        child.wait().unwrap();

        let listener = Bind::new(&path).listen().unwrap();
        drop(listener);
        assert!(!path.exists(), "nobody has it");
    }

    /// Descriptors passed before the listener refused them are in the socket all the same.
    #[test]
    fn of_an_inherited_listener_the_clients_that_came_first_may_bring_descriptors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let inherited = UnixListener::bind(&path).unwrap();
        let _before = [(); 2].map(|()| UnixStream::connect(&path).unwrap());
        let listener = Listener::inherited(inherited).unwrap();
        let _after = [(); 2].map(|()| UnixStream::connect(&path).unwrap());
        let all = [(); 4].map(|()| listener.accept_client().unwrap().may_bring_descriptors);
        let can_refuse = passed_descriptors::refuse(UnixStream::pair().unwrap().0);
        assert_eq!(all, if can_refuse { [true, true, false, false] } else { [true; 4] });
    }

    #[test]
    fn no_client_of_a_listener_of_our_own_brings_descriptors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = Bind::new(&path).listen().unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let can_refuse = passed_descriptors::refuse(UnixStream::pair().unwrap().0);
        assert_eq!(listener.accept_client().unwrap().may_bring_descriptors, !can_refuse);
    }
}
