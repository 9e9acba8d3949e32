//! What the user asks about.

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cmd::why::facts::Facts;
use crate::cmd::why::helper::Helper;
use crate::cmd::why::see::file::SocketFile;
use crate::cmd::why::see::path_state::PathState;
use crate::sock_diag::{FileId, Socket};

/// As written on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TargetArgument {
    Path(PathBuf),
    /// Without the NUL before it.
    Abstract(Vec<u8>),
    Process {
        pid: u32,
        fd: Option<u32>,
        /// Of the socket that it must be: a descriptor's number is used again, a cookie never.
        cookie: Option<u64>,
    },
}

impl Display for TargetArgument {
    /// As it was written; a name that is no text, as much of it as is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
            Self::Process { pid, fd, cookie } => {
                write!(f, "{pid}")?;
                fd.map_or(Ok(()), |fd| write!(f, ":{fd}"))?;
                cookie.map_or(Ok(()), |cookie| write!(f, ":{cookie}"))
            }
        }
    }
}

impl TargetArgument {
    /// A name need not be text, for the kernel.
    pub(crate) fn parse(name: &OsStr) -> Result<Self, String> {
        if let Some(process) = name.to_str().and_then(Self::process) {
            return Ok(process);
        }
        match name.as_bytes() {
            b"" => Err("expected a path, PID or PID:FD, got nothing".to_owned()),
            b"@" => {
                Err("expected a name after the @ of an abstract socket, got nothing".to_owned())
            }
            [b'@', name @ ..] => Ok(Self::Abstract(name.to_vec())),
            _ => Ok(Self::Path(PathBuf::from(name))),
        }
    }

    fn process(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let pid = parts.next()?.parse().ok()?;
        let fd = parts.next().map(|fd| fd.parse().ok());
        let cookie = parts.next().map(|cookie| cookie.parse().ok());
        // A part that is there is a number, or all of it is a path.
        let (fd, cookie) = (
            fd.map_or(Some(None), |fd| Some(Some(fd?)))?,
            cookie.map_or(Some(None), |one| Some(Some(one?)))?,
        );
        parts.next().is_none().then_some(Self::Process { pid, fd, cookie })
    }
}

/// What to judge.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Every Unix socket.
    All,
    File(SocketFile),
    /// With the NUL before it.
    Abstract(Vec<u8>),
    Process {
        pid: u32,
        fd: Option<u32>,
    },
}

impl Target {
    /// Looks at the file, if it is one. An error says that there is no such process.
    pub(crate) fn look(asked: Option<&TargetArgument>, helper: &Helper) -> Result<Self, String> {
        Ok(match asked {
            None => Self::All,
            Some(TargetArgument::Path(path)) => Self::File(SocketFile::ask(path, helper)),
            Some(TargetArgument::Abstract(name)) => Self::Abstract([b"\0", &name[..]].concat()),
            Some(TargetArgument::Process { pid, fd, .. }) => {
                if !Path::new("/proc").join(pid.to_string()).exists() {
                    return Err(format!("there is no process {pid}"));
                }
                Self::Process { pid: *pid, fd: *fd }
            }
        })
    }

    /// The process that the user asks about, which need not have a socket.
    pub(crate) fn process(&self) -> Option<u32> {
        match self {
            Self::Process { pid, .. } => Some(*pid),
            _ => None,
        }
    }

    /// That the descriptor asked about is no Unix socket, as far as that can be seen.
    pub(crate) fn is_amiss(&self, facts: &Facts) -> Option<String> {
        let Self::Process { pid, fd: Some(fd) } = self else { return None };
        let is_seen = !facts.hidden.contains(pid) && facts.visibility.hidden_namespaces == 0;
        (is_seen && !facts.is_held_at(*pid, *fd))
            .then(|| format!("process {pid} has no Unix socket at descriptor {fd}"))
    }

    /// Whether this socket is one the user asks about: a listener, either end of one of its
    /// connections, or a client in its queue.
    pub(crate) fn concerns(&self, facts: &Facts, socket: &Socket) -> bool {
        let peer = socket.peer_inode().and_then(|peer| facts.sockets.get(&peer));
        match self {
            Self::All => true,
            Self::Process { pid, fd } => [Some(socket), peer].into_iter().flatten().any(|end| {
                let owners = facts.owners.get(&end.inode).into_iter().flatten();
                owners.into_iter().any(|held| held.0 == *pid && fd.is_none_or(|fd| fd == held.1))
            }),
            Self::File(_) | Self::Abstract(_) => {
                self.has_address(socket.file, &socket.name)
                    || peer.is_some_and(|peer| self.has_address(peer.file, &peer.name))
                    || facts
                        .details
                        .former
                        .get(&socket.inode)
                        .is_some_and(|former| self.has_address(former.file, &former.name))
                    || facts
                        .queue_of(socket.inode)
                        .is_some_and(|listener| self.has_address(listener.file, &listener.name))
            }
        }
    }

    /// Whether this is the address the user asks about.
    pub(crate) fn has_address(&self, file: Option<FileId>, name: &[u8]) -> bool {
        match self {
            Self::File(asked) => file.is_some() && asked.id() == file,
            Self::Abstract(asked) => file.is_none() && asked == name,
            Self::All | Self::Process { .. } => true,
        }
    }

    /// Listeners that the path led to once.
    pub(crate) fn displaced<'a>(&self, facts: &'a Facts) -> impl Iterator<Item = &'a Socket> {
        let (here, empty) = match self {
            Self::File(asked) => (asked.id(), asked.empty.as_ref()),
            Self::All | Self::Abstract(_) | Self::Process { .. } => (None, None),
        };
        facts.listeners().filter(move |listener| match facts.path_states.get(&listener.inode) {
            Some(PathState::Other(now)) => Some(*now) == here && listener.file != here,
            Some(PathState::Missing(place)) => place.is_some() && place.as_ref() == empty,
            Some(PathState::Same | PathState::Renamed(_)) | None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_process_and_a_path_may_say_otherwise() {
        let asked = |text: &str| TargetArgument::parse(text.as_ref());
        assert_eq!(asked("12"), Ok(TargetArgument::Process { pid: 12, fd: None, cookie: None }));
        assert_eq!(
            asked("12:3"),
            Ok(TargetArgument::Process { pid: 12, fd: Some(3), cookie: None })
        );
        let whole = TargetArgument::Process { pid: 12, fd: Some(3), cookie: Some(77) };
        assert_eq!(asked("12:3:77"), Ok(whole));
        for path in ["./12", "12:3:x", "12:3:7:7", "12:x", "a:3", "/run/s", "s"] {
            assert_eq!(asked(path), Ok(TargetArgument::Path(path.into())), "{path}");
        }
        assert_eq!(asked("@app"), Ok(TargetArgument::Abstract(b"app".to_vec())));
        assert!(asked("@").unwrap_err().contains("name after the @"));
        assert!(asked("").is_err());
        let strange = OsStr::from_bytes(b"a\xff");
        assert_eq!(TargetArgument::parse(strange), Ok(TargetArgument::Path(strange.into())));
        let strange = OsStr::from_bytes(b"@a\xff");
        assert_eq!(TargetArgument::parse(strange), Ok(TargetArgument::Abstract(b"a\xff".to_vec())));
    }
}
