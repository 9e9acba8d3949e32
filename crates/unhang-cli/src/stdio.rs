//! Standard input, output and error. Other processes share them, and decide whether they block and
//! whether anybody is at the other end.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::channel;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Standard output without a buffer. A write waits for room, also if the descriptor does not block: then
/// another process has set `O_NONBLOCK`, which counts for all that share the pipe or the terminal.
pub(crate) struct Stdout;

/// Standard error, in the same way.
pub(crate) struct Stderr;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(io::stdout().as_fd(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(io::stderr().as_fd(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says on standard error what went wrong, and under which command.
pub(crate) fn complain(command: &str, what: impl std::fmt::Display) {
    // If it cannot be written, there is nobody to tell; `eprintln!` would panic. One write, so that no line
    // of another process comes in between.
    let _ = Stderr.write_all(format!("unhang {command}: {what}\n").as_bytes());
}

/// Without its escape sequences, unless it goes to a terminal that shows colours.
pub(crate) fn for_stdout(text: &str) -> Cow<'_, str> {
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(text).to_string().into(),
        _ => text.into(),
    }
}

/// The longest input that is taken, in bytes: it is held in memory.
pub(crate) const LONGEST_INPUT: usize = 256 << 20;

/// Reads standard input to its end, which may never come.
pub(crate) fn read_to_end() -> io::Result<Vec<u8>> {
    let (input, mut bytes) = (io::stdin(), Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match rustix::io::read(&input, &mut buffer[..]) {
            Ok(0) => return Ok(bytes),
            Ok(count) if bytes.len() + count > LONGEST_INPUT => {
                let what = format!("expected at most {} MiB, got more", LONGEST_INPUT >> 20);
                return Err(io::Error::other(what));
            }
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(input.as_fd(), PollFlags::IN)?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Does it on a thread of its own, and gives what came of it; `None` if it is not done by then. The thread
/// goes on until the process ends: no system call ends a read or a write of another thread.
pub(crate) fn by<T: Send + 'static>(
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<io::Result<T>> {
    let (done, result) = channel();
    let work = move || {
        // It comes too late if nobody listens any more.
        let _ = done.send(work());
    };
    if let Err(error) = std::thread::Builder::new().spawn(work) {
        return Some(Err(error));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    result.recv_timeout(left).ok().map(Ok)
}

fn write(to: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(to, bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(to, PollFlags::OUT)?,
            result => return Ok(result?),
        }
    }
}

fn wait(fd: BorrowedFd<'_>, until: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(&fd, until)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
