//! `--probe`: asks the server in three ways, each on a connection of its own, and learns where it
//! takes a request to end, and whether it ends its replies.
//!
//! The server sees these requests: the user names the data, and knows what it does with it.

use std::fmt::{self, Display};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use crate::connection::{Connection, Read};
use crate::shell::quoted_for_any_shell;

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestEnd {
    AsItIs,
    Newline,
    HalfClose,
}

/// What came of one request.
#[derive(Debug)]
struct Answer {
    request_end: RequestEnd,
    /// When the first byte came.
    first: Option<Duration>,
    /// How the server ended it, and when.
    end: Option<(End, Duration)>,
    bytes: usize,
    last: Option<u8>,
    error: Option<io::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    /// It closed without having read all: the client gets an error when it expects the end.
    Reset,
}

/// What came of all three.
#[derive(Debug)]
pub(crate) struct Probe {
    path: PathBuf,
    answers: Vec<Answer>,
}

/// For each way of asking: long for a service, short for a user who looks on.
const PATIENCE: Duration = Duration::from_secs(2);

impl Probe {
    pub(crate) fn of(path: &Path, data: &[u8]) -> Self {
        let ends = [RequestEnd::AsItIs, RequestEnd::Newline, RequestEnd::HalfClose];
        Self {
            path: path.to_path_buf(),
            answers: ends.map(|request_end| ask(path, data, request_end)).into(),
        }
    }

    /// Whether a plain client, that sends this and reads to the end, is served.
    pub(crate) fn is_served(&self) -> bool {
        self.came_of(RequestEnd::AsItIs) == (true, Some(End::Closed))
    }

    /// What a client is to be told of this server, for PHP and for a shell; both half-close unless told
    /// otherwise. None: where the reply ends is not seen from outside.
    fn client(&self) -> Option<[String; 2]> {
        let path = quoted_for_any_shell(&self.path)?;
        let (php, shell) = self.options()?;
        // What a shell needs no quotes for is plain in PHP, too.
        let plain = if path.contains(['\'', '\\']) { "PATH" } else { &path };
        Some([format!("new Client('{plain}'{php})"), format!("unhang call {path}{shell}")])
    }

    fn options(&self) -> Option<(&'static str, &'static str)> {
        let answer = |request_end| {
            let found = self.answers.iter().find(|answer| answer.request_end == request_end);
            found.filter(|answer| answer.error.is_none() && answer.bytes > 0)
        };
        let ends_in_line = |answer: &Answer| answer.last == Some(b'\n');
        let closes = |answer: &Answer| matches!(answer.end, Some((End::Closed, _)));
        match (
            answer(RequestEnd::HalfClose),
            answer(RequestEnd::AsItIs),
            answer(RequestEnd::Newline),
        ) {
            (Some(half), _, _) if closes(half) => Some(("", "")),
            (Some(half), _, _) if ends_in_line(half) => {
                Some((", replyEnds: ReplyEnds::newline()", " --reply-ends newline"))
            }
            (None, Some(plain), _) if closes(plain) => {
                Some((", halfClose: false", " --no-half-close"))
            }
            (None, Some(plain), _) if ends_in_line(plain) => Some((
                ", replyEnds: ReplyEnds::newline(), halfClose: false",
                " --reply-ends newline --no-half-close",
            )),
            (None, None, Some(line)) if ends_in_line(line) => {
                Some((", wire: Wire::lines()", " --wire lines"))
            }
            _ => None,
        }
    }

    /// Whether none of them got as far as a connection that could be used.
    pub(crate) fn is_refused(&self) -> bool {
        self.answers.iter().all(|answer| answer.error.is_some())
    }

    /// Whether it answered to a request that ends so, and how it ended that.
    fn came_of(&self, request_end: RequestEnd) -> (bool, Option<End>) {
        let answer = self.answers.iter().find(|answer| answer.request_end == request_end);
        answer.map_or((false, None), |one| (one.bytes > 0, one.end.map(|(end, _)| end)))
    }

    fn verdict(&self) -> &'static str {
        const RESET: &str =
            "it answers, and resets the connection: it closes without having read all";
        if self.is_refused() {
            return "it cannot be asked";
        }
        match self.came_of(RequestEnd::AsItIs) {
            (true, Some(End::Closed)) => return "it answers, and closes",
            (true, Some(End::Reset)) => return RESET,
            (true, None) => {
                return "it answers, and keeps the connection open: a client that reads to the end \
                        hangs";
            }
            (false, Some(End::Closed)) => return "it closes without an answer",
            (false, Some(End::Reset)) => return "it resets the connection, without an answer",
            (false, None) => {}
        }
        match (self.came_of(RequestEnd::Newline), self.came_of(RequestEnd::HalfClose)) {
            ((true, Some(End::Closed)), _) => "it needs a newline, then answers, and closes",
            ((true, Some(End::Reset)), _) => "it needs a newline, then answers, and resets",
            ((true, None), _) => "it needs a newline, then answers, and keeps the connection open",
            (_, (true, _) | (_, Some(_))) => {
                "it needs the end of the request: the client must half-close, shutdown(SHUT_WR)"
            }
            _ => "it does not answer in time, however it is asked",
        }
    }
}

fn ask(path: &Path, data: &[u8], request_end: RequestEnd) -> Answer {
    let mut answer =
        Answer { request_end, first: None, end: None, bytes: 0, last: None, error: None };
    if let Err(error) = converse(path, data, &mut answer) {
        answer.error = Some(error);
    }
    answer
}

fn converse(path: &Path, data: &[u8], answer: &mut Answer) -> io::Result<()> {
    let began = Instant::now();
    let mut stream = connect(path)?;
    let end: &[u8] = if answer.request_end == RequestEnd::Newline { b"\n" } else { b"" };
    match stream.write_all(&[data, end].concat()) {
        // It closed without having read all; what it answered before that is there.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    if answer.request_end == RequestEnd::HalfClose {
        net::shutdown(&stream, Shutdown::Write)?;
    }
    let mut bytes = [0; 4096];
    loop {
        let left = PATIENCE.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        sockopt::set_socket_timeout(&stream, sockopt::Timeout::Recv, Some(left))?;
        match stream.read(&mut bytes) {
            Ok(Read::Descriptor) => return Err(io::Error::other(DESCRIPTOR)),
            Ok(Read::Bytes(0)) => {
                answer.end = Some((End::Closed, began.elapsed()));
                return Ok(());
            }
            Ok(Read::Bytes(count)) => {
                answer.first.get_or_insert_with(|| began.elapsed());
                answer.bytes += count;
                answer.last = bytes[..count].last().copied();
            }
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => {
                answer.end = Some((End::Reset, began.elapsed()));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// On kernels before Linux 6.16, which cannot refuse it.
const DESCRIPTOR: &str =
    "it passes a file descriptor along with its reply, which can hold up whoever reads it";

/// The deadline for sending is one for connecting, too: if the accept queue is full, `connect()`
/// would wait for ever.
fn connect(path: &Path) -> io::Result<Connection> {
    let flags = SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let socket = Connection::to_unix_socket(socket);
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    match net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => Ok(socket),
        Err(Errno::AGAIN) => {
            let why = format!("not accepted within {PATIENCE:?}: its accept queue is full");
            Err(io::Error::new(ErrorKind::TimedOut, why))
        }
        Err(error) => Err(error.into()),
    }
}

impl Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "PROBE {}", self.verdict())?;
        for answer in &self.answers {
            writeln!(f, "  · {answer}")?;
        }
        match self.client() {
            Some([php, shell]) => writeln!(f, "USE   {php}   or   {shell}"),
            None => Ok(()),
        }
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request_end = match self.request_end {
            RequestEnd::AsItIs => "as it is",
            RequestEnd::Newline => "with a newline",
            RequestEnd::HalfClose => "with a half-close",
        };
        write!(f, "{request_end:<18} ")?;
        match (&self.error, self.first) {
            (Some(error), _) => return write!(f, "{error}"),
            (None, Some(first)) => write!(f, "{} bytes, the first after {first:.1?}", self.bytes)?,
            (None, None) => write!(f, "no answer")?,
        }
        match self.end {
            Some((End::Closed, at)) => write!(f, "; closed after {at:.1?}"),
            Some((End::Reset, at)) => {
                write!(f, "; reset after {} bytes and {at:.1?}", self.bytes)
            }
            None => write!(f, "; not closed within {PATIENCE:?}"),
        }
    }
}
