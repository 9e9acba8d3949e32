//! Bytes of a reply that lie in a pipe: the kernel moves them from socket to socket, and copies none
//! (splice(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// As much as a Unix socket holds (`net.core.wmem_default`), in whole pages: so all that lies in one is moved
/// at once. A pipe holds 64 KiB unless told otherwise.
const ROOM: usize = 256 * 1024;

/// A pipe that nobody else knows of.
#[derive(Debug)]
pub(crate) struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
}

/// The next bytes of a reply, at the front of a pipe.
#[derive(Debug)]
pub(crate) struct Piped {
    pipe: Arc<Pipe>,
    length: usize,
}

impl Pipe {
    /// # Errors
    /// When there is no descriptor left, or if SIGPIPE would end this process: splice(2) cannot be told not
    /// to raise it when the client has left. Rust programs ignore it, unless they change that.
    pub(crate) fn new() -> io::Result<Self> {
        if !ignores_sigpipe() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // It stays as it is if this user has too many (pipe(7), `pipe-user-pages-soft`).
        let _ = fcntl_setpipe_size(&input, ROOM);
        Ok(Self { output, input })
    }

    pub(crate) fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }
}

impl Piped {
    /// So many bytes that lie in a pipe. It must hold no others.
    pub(crate) fn new(pipe: Arc<Pipe>, length: usize) -> Self {
        Self { pipe, length }
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn output(&self) -> BorrowedFd<'_> {
        self.pipe.output.as_fd()
    }

    /// So many of them were moved out of the pipe.
    pub(crate) fn moved(&mut self, count: usize) {
        self.length = self.length.saturating_sub(count);
    }

    /// The bytes themselves, where they cannot be moved: behind a wire that frames them, or to a stream that
    /// takes none from a pipe.
    pub(crate) fn into_bytes(self) -> io::Result<Bytes> {
        let mut bytes = Vec::with_capacity(self.length);
        while bytes.len() < self.length {
            if rustix::io::read(&self.pipe.output, spare_capacity(&mut bytes))? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(bytes.into())
    }
}

/// The 13th bit of the mask in `proc_pid_status(5)`: signals count from 1.
fn ignores_sigpipe() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << 12) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_pipe_comes_out_as_bytes() {
        let pipe = Arc::new(Pipe::new().unwrap());
        for text in ["one", "two"] {
            rustix::io::write(pipe.input(), text.as_bytes()).unwrap();
            let piped = Piped::new(Arc::clone(&pipe), text.len());
            assert_eq!(piped.into_bytes().unwrap(), text);
        }
        assert!(Piped::new(pipe, 1).into_bytes().is_err());
    }
}
