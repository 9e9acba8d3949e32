//! What to do next.

use std::io;

use rustix::io::Errno;

use super::{Error, ErrorKind, may_be_coming};
use crate::error::shape::Shape;

impl Error {
    /// What to do next, as a sentence; empty if the error says it all.
    pub fn next_step(&self) -> &'static str {
        match &self.kind {
            ErrorKind::Held { pid: Some(pid) } if *pid == std::process::id() => {
                "Choose another path."
            }
            ErrorKind::Held { .. } | ErrorKind::NotReplaceable { .. } => {
                "Stop that process, or choose another path."
            }
            ErrorKind::NotHandedOver { .. } => "Is it stopped? `unhang why PATH` says more.",
            ErrorKind::NotReplaced { .. } => {
                "Start again, and serve sooner after the socket was taken over."
            }
            ErrorKind::Occupied { .. } => {
                "It was left as it is: choose another path, or remove it yourself."
            }
            ErrorKind::UnsafeDirectory { .. } => {
                "Anyone could replace the socket: use a directory of the service's own (mode 0755), \
                 or set the sticky bit (chmod +t)."
            }
            ErrorKind::Setup { step, source } => after_setup(step, source),
            ErrorKind::NoSuchFile => "Start the server, or correct the path.",
            ErrorKind::NobodyListens if self.address.starts_with('@') => {
                "An abstract name is gone with its server: start it, or correct the name."
            }
            ErrorKind::NobodyListens => "Its server died and left the file behind: start it again.",
            ErrorKind::DeletedFile => {
                "Its server has made a new file since: mount the directory that the socket is in, not the \
                 socket itself."
            }
            ErrorKind::PermissionDenied => {
                "It takes write permission on the socket and search permission on every directory \
                 above it: see `namei -l`, and the server's --mode and --group."
            }
            ErrorKind::NotASocket => "Correct the path.",
            ErrorKind::NotAStreamSocket => "This speaks stream sockets only: correct the path.",
            ErrorKind::QueueFull { .. } => {
                "The server accepts too slowly or not at all: see whether it is stuck."
            }
            // These say it themselves.
            ErrorKind::BadAddress { .. }
            | ErrorKind::BadSetting { .. }
            | ErrorKind::Connect { .. }
            | ErrorKind::Refused { .. } => "",
            ErrorKind::TimedOut { .. } => {
                "See what the server is doing; if it waits for a newline or for an end, send one."
            }
            ErrorKind::Incomplete { partial, .. } => Shape::of(partial).advice(),
            ErrorKind::NotClosed { silent, elapsed, .. } if may_be_coming(*silent, *elapsed) => {
                "It may still have been coming: raise the deadline. If it was whole, the server must \
                 close (or half-close) the connection after it."
            }
            ErrorKind::NotClosed { reply, .. } => Shape::of(reply).advice(),
            ErrorKind::Lost { half_closed: true, partial, .. } if partial.is_empty() => {
                "The client had half-closed after its request. Some servers take that for the end of the \
                 conversation (Node's net, asyncio, Go's net/http): try --no-half-close, or \
                 half_close(false). If that changes nothing, see the server's log: it died, or closed too \
                 early."
            }
            ErrorKind::RequestCut { .. } => {
                "Its answer may be right for that part only. See why it stops reading: a limit, or a read \
                 that takes the first piece for the whole request."
            }
            ErrorKind::BrokenReply { .. } => {
                "Choose the end of the reply that this server shows: the close, a newline, or another."
            }
            ErrorKind::DescriptorPassed { .. } => {
                "Whoever serves there can hold up its clients so: see which program it is, or update the \
                 kernel."
            }
            ErrorKind::Lost { .. } => "See the server's log: it died, or closed too early.",
            ErrorKind::ReplyTooLarge { .. } => "Allow a longer reply, or ask for less.",
        }
    }
}

/// Where a step failed while a socket was set up.
fn after_setup(step: &str, source: &io::Error) -> &'static str {
    match (step, source.kind(), Errno::from_io_error(source)) {
        ("give the socket its owner", io::ErrorKind::PermissionDenied, _) => {
            "Only root may give a file away, and others only to a group that they are in: start it as \
             root, or leave out the owner and the group."
        }
        ("take the socket over from its server", io::ErrorKind::PermissionDenied, _) => {
            "Start it as the same user as the server that runs there."
        }
        (step, io::ErrorKind::NotFound, _) if step.contains("descriptor") => {
            "There is no /dev/null, which it opens: mount /dev, or make it (mknod /dev/null c 1 3)."
        }
        (step, io::ErrorKind::NotFound, _) if step.starts_with("use the directory") => {
            "Create the directory first."
        }
        (step, io::ErrorKind::WouldBlock, _) if step.starts_with("lock ") => {
            "Another process has a lease on that file (see /proc/locks): stop it, or remove the file."
        }
        (_, io::ErrorKind::PermissionDenied, _) => {
            "It takes write permission on the directory, and on the .lock file beside the socket."
        }
        (_, io::ErrorKind::StorageFull, _) => {
            "Free some space or inodes on that file system, or choose a directory on another."
        }
        (_, io::ErrorKind::ReadOnlyFilesystem, _) => {
            "Choose a directory on one that can be written, for example below /run."
        }
        (_, _, Some(Errno::MFILE)) => {
            "Let the process open more files: ulimit -n, or LimitNOFILE= in systemd."
        }
        (_, _, Some(Errno::NOTDIR)) => {
            "A part of the path is a file and no directory: correct the path."
        }
        (_, _, Some(Errno::ISDIR)) => {
            "A directory has the name of the .lock file: remove it, or choose another path."
        }
        (_, _, Some(Errno::LOOP)) => {
            "A symbolic link is not followed there: remove it, or choose another path."
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Whose;

    fn not_closed(silent_ms: u64) -> Error {
        let silent = Duration::from_millis(silent_ms);
        let elapsed = Duration::from_secs(5);
        Error::new(&"/s", ErrorKind::NotClosed { reply: b"OK".to_vec(), silent, elapsed })
    }

    /// It was told that its server must close.
    #[test]
    fn a_caller_too_impatient_for_a_long_reply_is_told_to_wait_longer() {
        let coming = not_closed(1);
        assert!(coming.to_string().contains("raise the deadline"), "{coming}");
        assert!(coming.to_string().contains("2 bytes, the last 1.0ms before"), "{coming}");
        assert_eq!(coming.whose(), Whose::Caller);

        let forgotten = not_closed(4900);
        assert!(forgotten.to_string().contains("the server must close"), "{forgotten}");
        assert!(!forgotten.to_string().contains("deadline"), "{forgotten}");
        assert_eq!(forgotten.whose(), Whose::Server);
    }

    #[test]
    fn a_process_that_holds_it_itself_is_not_told_to_stop_itself() {
        let held = Error::new(&"/s", ErrorKind::Held { pid: Some(std::process::id()) });
        assert!(held.to_string().contains("this process itself"), "{held}");
        assert!(!held.to_string().contains("Stop"), "{held}");
    }
}
