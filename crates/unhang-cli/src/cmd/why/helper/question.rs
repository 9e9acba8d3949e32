//! What the helper is asked. A question and its answer are JSON, behind their length in four bytes.

use std::io;

use serde::{Deserialize, Serialize};

use crate::sock_diag::FileId;

/// No question or answer is longer: what a helper sends is a stranger's in part.
pub(crate) const LARGEST: usize = 64 << 20;

/// About a process, so that it is known which one keeps us waiting.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Its program: `Option<Program>`.
    Program { pid: u32 },
    /// So many bytes of its memory, all or none: `Option<Vec<u8>>`.
    Memory { pid: u32, at: u64, length: usize },
    /// The file that a name leads it to: `Option<FileId>`.
    File { pid: u32, name: Vec<u8> },
    /// What a path of the user's leads to: `SocketFile`.
    SocketFile { path: Vec<u8> },
    /// What has become of the file that it bound under a name: `Option<PathState>`.
    PathState { pid: u32, name: Vec<u8>, bound: FileId },
    /// Where its scripts are: `Result<Vec<Location>, String>`.
    Locations { pid: u32, show_data: bool },
    /// Where the goroutines of a Go program are that wait in its own code: the same.
    Goroutines { pid: u32 },
    /// What reads these descriptors of a Go program, each with what its epoll has for it:
    /// `Result<Option<Vec<Result<Reader, String>>>, String>`.
    Readers { pid: u32, registered: Vec<(u32, u64)>, millis: u64 },
    /// What a server of ours answers at its control socket: `Option<Vec<u8>>`.
    Control { pid: u32, control: Control, millis: u64 },
    /// What it knows of a call on another machine, and may ask for: the same.
    Call { pid: u32, control: Control, number: u32, millis: u64 },
}

/// A control socket: its name, its number, and its file's number and device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Control {
    pub(crate) name: Vec<u8>,
    pub(crate) inode: u32,
    pub(crate) file: Option<FileId>,
}

/// A process's program.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Its words are as long as ours, and so its system calls have the numbers that we know.
    pub(crate) is_native: bool,
}

/// What goes before a question or an answer.
pub(crate) fn length(bytes: usize) -> io::Result<[u8; 4]> {
    match u32::try_from(bytes) {
        Ok(length) if bytes <= LARGEST => Ok(length.to_le_bytes()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
