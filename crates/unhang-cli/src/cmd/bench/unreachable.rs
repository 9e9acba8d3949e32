//! Nobody can be connected to: why, and what to do.

use std::fmt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use unhang::{Address, ErrorKind};

use super::target::Target;
use crate::shell::quoted;

#[derive(Debug)]
pub(super) struct Unreachable<'a> {
    pub(super) target: &'a Target,
    pub(super) error: Errno,
    /// How long a place in the accept queue was waited for.
    pub(super) timeout: Duration,
}

impl fmt::Display for Unreachable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cause, advice) = match self.target {
            Target::Unix { address, .. } => self.at_a_socket(address),
            Target::Tcp(_) => self.at_a_port(),
        };
        write!(f, "{}: {cause}", self.target)?;
        if !advice.is_empty() {
            write!(f, ". {advice}")?;
        }
        match cause {
            ErrorKind::QueueFull { .. } => {
                write!(f, " To see why: unhang why {}", quoted(&self.target.to_string()))
            }
            _ => Ok(()),
        }
    }
}

impl Unreachable<'_> {
    /// The cause in the library's words, so that `unhang call` says the same of the same socket.
    fn at_a_socket(&self, address: &Address) -> (ErrorKind, &'static str) {
        match self.error {
            Errno::NOENT | Errno::NOTDIR => {
                (ErrorKind::NoSuchFile, "Start the server, or correct the path.")
            }
            Errno::ACCESS | Errno::PERM => (
                ErrorKind::PermissionDenied,
                "It takes write permission on the socket and search permission on every directory \
                 above it: see `namei -l`.",
            ),
            Errno::PROTOTYPE => {
                (ErrorKind::NotAStreamSocket, "This speaks stream sockets only: correct the path.")
            }
            // The kernel says the same of a socket without a server and of any other file.
            Errno::CONNREFUSED if is_other_file(address) => {
                (ErrorKind::NotASocket, "Correct the path.")
            }
            Errno::CONNREFUSED if address.path().is_none() => {
                (ErrorKind::NobodyListens, "Start the server, or correct the name.")
            }
            Errno::CONNREFUSED if is_deleted_file(address) => (
                ErrorKind::DeletedFile,
                "Its server has made a new file since: mount the directory that the socket is in, not the \
                 socket itself.",
            ),
            Errno::CONNREFUSED => (
                ErrorKind::NobodyListens,
                "Its server died and left the file behind: start it again.",
            ),
            Errno::AGAIN => (
                ErrorKind::QueueFull { tried: self.timeout },
                "The server accepts too slowly or not at all.",
            ),
            error => (ErrorKind::Connect { source: Arc::new(error.into()) }, ""),
        }
    }

    fn at_a_port(&self) -> (ErrorKind, &'static str) {
        match self.error {
            Errno::CONNREFUSED => {
                (ErrorKind::NobodyListens, "Start the server, or correct the port.")
            }
            error => (ErrorKind::Connect { source: Arc::new(error.into()) }, ""),
        }
    }
}

fn is_other_file(address: &Address) -> bool {
    let file = address.path().and_then(|path| path.metadata().ok());
    file.is_some_and(|file| !file.file_type().is_socket())
}

/// As it is with a socket file that is mounted into a container, after its server has started again.
fn is_deleted_file(address: &Address) -> bool {
    let file = address.path().and_then(|path| path.metadata().ok());
    file.is_some_and(|file| file.nlink() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(target: &str, error: Errno) -> String {
        let target = Target::parse(target.as_ref()).unwrap();
        Unreachable { target: &target, error, timeout: Duration::from_secs(5) }.to_string()
    }

    #[test]
    fn what_permission_it_takes_is_said() {
        let told = told("/run/app.sock", Errno::ACCESS);
        assert!(told.starts_with("/run/app.sock: cannot connect: permission denied. It takes"));
        assert!(told.ends_with("see `namei -l`."), "{told}");
    }

    #[test]
    fn what_is_not_known_is_told_as_the_kernel_says_it() {
        for target in ["/run/app.sock", "tcp:127.0.0.1:80"] {
            let expected = format!("{target}: cannot connect: Invalid argument (os error 22)");
            assert_eq!(told(target, Errno::INVAL), expected);
        }
    }

    #[test]
    fn the_command_that_sees_why_stands_as_it_is_run() {
        let told = told("/run/my app", Errno::AGAIN);
        assert!(told.contains("stayed full for 5.0s. The server accepts too slowly"), "{told}");
        assert!(told.ends_with(" To see why: unhang why '/run/my app'"), "{told}");
    }
}
