//! Our ends of a worker's pipes. The runtime hears of them only while a reply has to be waited for there:
//! most workers answer sooner, and each reply would wake a thread of the runtime for nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::{Errno, ioctl_fionbio};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{ChildStdin, ChildStdout};

use crate::backend::prompt;

/// How much of a worker's output is read at once.
const PIECE: usize = 64 * 1024;

/// Both are non-blocking.
#[derive(Debug)]
pub(super) enum Pipes {
    /// The runtime does not know of them.
    Own {
        stdin: OwnedFd,
        stdout: OwnedFd,
    },
    Watched {
        stdin: Sender,
        stdout: Receiver,
    },
}

impl Pipes {
    pub(super) fn new(stdin: ChildStdin, stdout: ChildStdout) -> io::Result<Self> {
        let (stdin, stdout) = (stdin.into_owned_fd()?, stdout.into_owned_fd()?);
        ioctl_fionbio(&stdin, true)?;
        ioctl_fionbio(&stdout, true)?;
        Ok(Self::Own { stdin, stdout })
    }

    /// Has the runtime hear of them.
    pub(super) fn watch(&mut self) -> io::Result<(&mut Sender, &mut Receiver)> {
        if let Self::Own { stdin, stdout } = self {
            let stdin = Sender::from_owned_fd_unchecked(stdin.try_clone()?)?;
            let stdout = Receiver::from_owned_fd_unchecked(stdout.try_clone()?)?;
            *self = Self::Watched { stdin, stdout };
        }
        match self {
            Self::Watched { stdin, stdout } => Ok((stdin, stdout)),
            Self::Own { .. } => Err(io::Error::other("they are not watched")),
        }
    }

    /// The runtime is to hear of them no more. If that fails, it goes on.
    pub(super) fn unwatch(&mut self) {
        if let Self::Watched { stdin, stdout } = self {
            let both = (stdin.as_fd().try_clone_to_owned(), stdout.as_fd().try_clone_to_owned());
            if let (Ok(stdin), Ok(stdout)) = both {
                *self = Self::Own { stdin, stdout };
            }
        }
    }

    fn stdin(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own { stdin, .. } => stdin.as_fd(),
            Self::Watched { stdin, .. } => stdin.as_fd(),
        }
    }

    fn stdout(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own { stdout, .. } => stdout.as_fd(),
            Self::Watched { stdout, .. } => stdout.as_fd(),
        }
    }

    /// Writes what fits: all of it, for the most part. How much that was.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::write(self.stdin(), &bytes[written..]) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) if written == 0 => return Err(error),
                // It may have answered before it closed its input.
                Err(_) => return Ok(bytes.len()),
            }
        }
        Ok(written)
    }

    /// Waits on this thread for output, or its end, or for so long. Whether there is some.
    pub(super) fn await_output(&self, within: Duration) -> bool {
        prompt::wait(&self.stdout(), PollFlags::IN, within)
    }

    /// Reads what is there, once: 0 is its end, or an error, of which there is none that one could do
    /// anything about.
    pub(super) fn read(&self, bytes: &mut Vec<u8>) -> Option<usize> {
        make_room(bytes);
        match rustix::io::read(self.stdout(), spare_capacity(bytes)) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            read => Some(read.unwrap_or_default()),
        }
    }
}

pub(super) fn make_room(bytes: &mut Vec<u8>) {
    if bytes.capacity() - bytes.len() < 4096 {
        bytes.reserve(PIECE);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::AsyncReadExt;
    use tokio::process::Command;

    use super::*;

    const LONG: Duration = Duration::from_millis(900);

    fn heard(pipes: &Pipes) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < 3 && pipes.await_output(LONG) {
            if pipes.read(&mut bytes) == Some(0) {
                break;
            }
        }
        bytes
    }

    #[tokio::test]
    async fn nothing_is_lost_where_the_runtime_begins_and_ends_to_hear_of_them() {
        let mut cat = Command::new("cat");
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        let mut pipes = Pipes::new(stdin, stdout).unwrap();
        assert_eq!((pipes.read(&mut Vec::new()), pipes.write(b"one")), (None, Ok(3)));
        assert_eq!(heard(&pipes), b"one");
        for _ in 0..3 {
            // What came before it is heard of, too.
            assert_eq!(pipes.write(b"two"), Ok(3));
            assert!(pipes.await_output(LONG));
            let mut bytes = [0; 3];
            pipes.watch().unwrap().1.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"two");
            pipes.unwatch();
            assert_eq!((pipes.write(b"six"), heard(&pipes)), (Ok(3), b"six".to_vec()));
        }
        // More than the pipes hold, and cat reads no more when nobody reads.
        let much = vec![b'x'; 1 << 20];
        assert!(pipes.write(&much).unwrap() < much.len());
        cat.kill().await.unwrap();
        assert_eq!(pipes.write(b"x"), Err(Errno::PIPE));
        while pipes.read(&mut Vec::new()).unwrap() > 0 {}
    }
}
