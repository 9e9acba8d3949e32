//! The control socket `PATH.ctl`: which users may ask there, the questions, and the answers.
//!
//! An asker sends one line. `unhang replace 1` asks for the listener, and begins the conversation that
//! replace.rs leads. `unhang in-flight 1` asks for what the server waits for, and `unhang call 1 NUMBER MILLIS`
//! what is known of one call on another machine, within that time.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};

use crate::error::{Error, ErrorKind};
use crate::handler::Peer;
use crate::limits::ACCEPT_PAUSE;
use crate::listen::address::{Address, CONTROL};
use crate::listen::control_line::{self as line, in_words};
use crate::listen::file::{self, Identity, SocketFile};
use crate::passed_descriptors::{self, close_elsewhere};
use crate::peer::{self, is_nobody};

/// A successor asks for the listener. The number is the version of all that follows.
pub(crate) const REPLACE: &str = "unhang replace 1\n";

/// The successor can serve.
pub(crate) const READY: &str = "ready\n";

/// The old server has left everything to the successor. Any other line is the reason why the old server
/// goes on. The end of the stream without a line says that it is gone.
pub(crate) const YOURS: &str = "yours\n";

/// `unhang why` asks for what the server waits for. The number is the version of the answer, which
/// [`Asked::waits`] gives.
pub(crate) const WAITS: &str = "unhang in-flight 1\n";

/// What is known of a call on another machine, by its number, within so many milliseconds. The number behind the
/// word is the version.
const CALL: &str = "unhang call 1 ";

/// Whatever an asker says, another one waits behind it no longer.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// How long an asker may take for its question. Each asks at once; one that does not holds up the askers
/// behind it for this long.
const TO_ASK: Duration = Duration::from_secs(1);

/// Nobody but the same user, and root, can connect to a control socket that is a file.
pub(crate) const MODE: u32 = 0o600;

/// So many strangers may wait to be closed before no more are accepted: each holds a descriptor. More than
/// none wait only if their descriptors cannot be refused, and take their time to be closed.
const STRANGERS: usize = 16;

/// What the server does when it is asked at its control socket.
pub(crate) trait Asked: Send + Sync {
    /// Where a request ends (`until newline`), and a line for each connection that waits; `None` if the
    /// server is stopping.
    fn waits(&self) -> Option<String>;

    /// What is known of a call on another machine, in lines, within that time. Blocks.
    fn call(&self, number: u32, within: Duration) -> String;

    /// A successor serves from now on.
    fn replaced(&self, by: Option<Peer>);

    /// An asker did not get what it asked for, or did not ask.
    fn not_replaced(&self, by: Option<Peer>, error: &io::Error);
}

/// A second socket beside the server's own.
#[derive(Debug)]
pub(crate) struct Control {
    /// `None` from [`Control::close`] on.
    socket: Mutex<Option<Arc<OwnedFd>>>,
    /// An eventfd. It ends the wait of [`Control::next`], which waits while it holds the lock above.
    waker: OwnedFd,
    refuses_descriptors: bool,
    pub(crate) file: Option<SocketFile>,
}

impl Control {
    /// `None` if there can be none: the name leaves no room for four more bytes, or something else has the
    /// longer name. Then the server serves, and cannot be replaced.
    pub(crate) fn new(server: &Address) -> Result<Option<Self>, Error> {
        let Some(address) = server.control() else { return Ok(None) };
        if address.path().is_some_and(|path| file::make_way(&address, path).is_err()) {
            return Ok(None);
        }
        let (socket, file) = match file::bind(&address, MODE) {
            Err(error) if matches!(error.kind(), ErrorKind::Held { .. }) => return Ok(None),
            bound => bound?,
        };
        let failed =
            |error: io::Error| Error::setup(&address, "listen on the control socket", error);
        let control = Self::of(socket, file).map_err(failed)?;
        if let Some(socket) = control.socket() {
            rustix::net::listen(&*socket, 1).map_err(|error| failed(error.into()))?;
        }
        Ok(Some(control))
    }

    /// The control socket that the old server has passed.
    pub(crate) fn of_old_server(socket: OwnedFd, address: &Address) -> io::Result<Self> {
        let file = address.path().and_then(|path| {
            Some(SocketFile { path: path.to_path_buf(), identity: Identity::of(path).ok()? })
        });
        Self::of(socket, file)
    }

    fn of(socket: OwnedFd, file: Option<SocketFile>) -> io::Result<Self> {
        // Before the first asker connects. Anybody can connect to an abstract name.
        let refuses_descriptors = passed_descriptors::refuse(&socket);
        let waker = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let socket = Mutex::new(Some(Arc::new(socket)));
        Ok(Self { socket, waker, refuses_descriptors, file })
    }

    /// Why the server at this address, which nobody answers for, cannot be replaced.
    pub(crate) fn missing(server: &Address) -> String {
        let Some(address) = server.control() else {
            let (bytes, most) = (server.bytes(), Address::LONGEST_REPLACEABLE);
            return format!(
                "its name has {bytes} bytes, and up to {most} leave room for {CONTROL}"
            );
        };
        match address.path().map(fs::symlink_metadata) {
            Some(Ok(file)) if !file.file_type().is_socket() => {
                format!("{address} is {}", file::describe(file.file_type()))
            }
            _ => format!("nobody listens at {address}"),
        }
    }

    /// The socket itself, to pass it on.
    pub(crate) fn socket(&self) -> Option<Arc<OwnedFd>> {
        self.lock().clone()
    }

    /// Closes the socket, and ends the thread that answers there. An abstract name is free after this.
    pub(crate) fn close(&self) {
        // Fails only if it was written 2^64 - 2 times already.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
        let Some(socket) = self.lock().take().filter(|_| !self.refuses_descriptors) else { return };
        // To close the socket would close the askers in its queue, too.
        while let Ok(asker) = accept(&socket) {
            close_elsewhere(asker.into());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<OwnedFd>>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next asker; `None` once the socket is closed.
    fn next(&self) -> Option<UnixStream> {
        loop {
            if passed_descriptors::waiting_to_be_closed() > STRANGERS {
                if self.is_closing(None, Some(ACCEPT_PAUSE)) {
                    return None;
                }
                continue;
            }
            let open = self.lock();
            let socket = open.as_ref()?;
            if self.is_closing(Some(socket), None) {
                return None;
            }
            match accept(socket) {
                Ok(asker) => return Some(asker),
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => {
                    drop(open);
                    // No descriptor is free, say. A later one may be, and a server that gave up could not
                    // be replaced any more.
                    if self.is_closing(None, Some(ACCEPT_PAUSE)) {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits until an asker is there or for that long, and tells whether the socket is to be closed.
    fn is_closing(&self, asker: Option<&Arc<OwnedFd>>, longest: Option<Duration>) -> bool {
        let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
        let mut polled = vec![PollFd::new(&self.waker, PollFlags::IN)];
        polled.extend(asker.map(|socket| PollFd::new(&**socket, PollFlags::IN)));
        let _ = rustix::event::poll(&mut polled, longest.as_ref());
        polled.first().is_some_and(|waker| !waker.revents().is_empty())
    }
}

fn accept(socket: &OwnedFd) -> rustix::io::Result<UnixStream> {
    // Another server that shares the socket may have made it blocking.
    rustix::io::ioctl_fionbio(socket, true)?;
    rustix::net::accept_with(socket, SocketFlags::CLOEXEC).map(UnixStream::from)
}

/// The thread that answers at a control socket. Dropping this closes the socket and waits for no asker.
pub(crate) struct Answering(Arc<Control>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Answers on a thread of its own until the result is dropped, or the listener has been given to a
/// successor by `give`.
///
/// The server is only known weakly: an asker that takes its time must not hold up the end of the server,
/// nor keep its lock beyond that.
pub(crate) fn answer(
    control: Arc<Control>,
    give: impl Fn(&UnixStream) -> io::Result<()> + Send + 'static,
    asked: Weak<dyn Asked>,
) -> io::Result<Answering> {
    let answering = Answering(Arc::clone(&control));
    thread::Builder::new().name("unhang-control".into()).spawn(move || {
        while let Some(asker) = control.next() {
            let by = peer::of(asker.as_fd());
            let answered = answer_one(&asker, &give, &asked);
            close_elsewhere(asker.into());
            let Some(asked) = asked.upgrade() else { return };
            match answered {
                Ok(Question::Waits | Question::Call { .. }) => {}
                Ok(Question::Replace) => return asked.replaced(by),
                Err(error) => asked.not_replaced(by, &error),
            }
        }
    })?;
    Ok(answering)
}

fn answer_one(
    asker: &UnixStream,
    give: impl Fn(&UnixStream) -> io::Result<()>,
    asked: &Weak<dyn Asked>,
) -> io::Result<Question> {
    let question = question(asker)?;
    match question {
        Question::Replace => give(asker)?,
        Question::Call { number, within } => {
            let answer = asked.upgrade().map(|asked| asked.call(number, within));
            let _ = line::write(asker, &answer.ok_or_else(stopping)?, Instant::now() + TO_ASK);
        }
        Question::Waits => {
            let answer = asked.upgrade().and_then(|asked| asked.waits()).ok_or_else(stopping)?;
            // An asker that leaves before it has read the answer does not want it.
            let _ = line::write(asker, &answer, Instant::now() + TO_ASK);
        }
    }
    Ok(question)
}

/// Digits alone behind the word: `parse` would take a sign.
pub(crate) fn call(line: &[u8]) -> Option<Question> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix(CALL)?.strip_suffix('\n')?;
    let (number, millis) = text.split_once(' ')?;
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(number) || !is_digits(millis) {
        return None;
    }
    let within = Duration::from_millis(millis.parse().ok()?).min(LONGEST_CALL);
    Some(Question::Call { number: number.parse().ok()?, within })
}

pub(crate) fn stopping() -> io::Error {
    io::Error::other("this server is stopping")
}

/// What can be asked at the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Replace,
    Waits,
    Call { number: u32, within: Duration },
}

/// Reads the question, if the asker may ask. Not a byte is read of one that may not.
pub(crate) fn question(asker: &UnixStream) -> io::Result<Question> {
    if let Err(error) = trust(asker) {
        let complaint = format!("{error}\n");
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = rustix::net::send(asker, complaint.as_bytes(), flags);
        return Err(error);
    }
    let deadline = Instant::now() + TO_ASK;
    let asked = line::read_line(asker, deadline).and_then(|got| match call(&got) {
        Some(call) => Ok(Err(call)),
        None => line::one_of(asker, &got, &[REPLACE, WAITS], deadline).map(Ok),
    });
    match asked {
        Ok(Err(call)) => Ok(call),
        Ok(Ok(0)) => Ok(Question::Replace),
        Ok(Ok(_)) => Ok(Question::Waits),
        Err(error) => Err(in_words(error, || format!("it did not ask within {TO_ASK:?}"))),
    }
}

/// Only the same user and root may take part, on either side. A user id that stands for several users is
/// neither, even if this process itself has it.
pub(crate) fn trust(stream: &UnixStream) -> io::Result<()> {
    let ours = rustix::process::geteuid().as_raw();
    match peer::of(stream.as_fd()) {
        Some(peer) if is_nobody(peer.uid) => {
            let uid = peer.uid;
            let complaint = format!(
                "the other side runs as user {uid}, which here stands for every user that this user \
                 namespace does not map: it could be anybody"
            );
            Err(io::Error::new(io::ErrorKind::PermissionDenied, complaint))
        }
        Some(peer) if peer.uid == ours || peer.uid == 0 => Ok(()),
        peer => {
            let uid = peer.map_or("nobody known".to_owned(), |peer| peer.uid.to_string());
            let complaint = format!("the other side runs as user {uid}, expected {ours} or root");
            Err(io::Error::new(io::ErrorKind::PermissionDenied, complaint))
        }
    }
}
