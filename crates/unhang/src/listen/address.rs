//! Where a socket is: a path in the file system, or an abstract name.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::net::SocketAddrUnix;

use crate::error::{Error, ErrorKind};

/// The bytes of `sun_path` less the NUL that ends a path or begins an abstract name: unix(7).
const LONGEST: usize = 107;

/// What the name of the control socket has more than the server's.
pub(crate) const CONTROL: &str = ".ctl";

/// A checked place for a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Name);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl Address {
    /// The bytes that a name may have so that its control socket can have one.
    pub(crate) const LONGEST_REPLACEABLE: usize = LONGEST - CONTROL.len();

    /// Reads a path, or `@name` for an abstract name (no file, no mode; it vanishes with its last
    /// holder). A file whose name begins with `@` is written `./@name`.
    ///
    /// # Errors
    /// [`ErrorKind::BadAddress`] when it is empty, holds a NUL, or is longer than the 107 bytes
    /// that the kernel takes.
    pub fn new(name: impl AsRef<Path>) -> Result<Self, Error> {
        let bytes = name.as_ref().as_os_str().as_bytes();
        let (place, named) = match bytes.strip_prefix(b"@") {
            Some(rest) => (Name::Abstract(rest.to_vec()), rest),
            None => (Name::Path(name.as_ref().to_path_buf()), bytes),
        };
        let address = Self(place);
        let complaint = if named.is_empty() {
            "expected a path or @name, got nothing".to_owned()
        } else if named.contains(&0) {
            "expected a path or @name, got one with a NUL byte in it".to_owned()
        } else if named.len() > LONGEST {
            let length = named.len();
            format!(
                "it has {length} bytes, the kernel takes {LONGEST}. Name a shorter one, for example \
                 below /run"
            )
        } else {
            return Ok(address);
        };
        Err(Error::new(&address, ErrorKind::BadAddress { complaint }))
    }

    /// The path, unless it is an abstract name.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Name::Path(path) => Some(path),
            Name::Abstract(_) => None,
        }
    }

    /// Where the server at this address can be asked to hand over; `None` if these bytes more are
    /// too many.
    pub(crate) fn control(&self) -> Option<Self> {
        Self::new(OsString::from_vec([&self.as_written()[..], CONTROL.as_bytes()].concat())).ok()
    }

    /// How many the kernel counts.
    pub(crate) fn bytes(&self) -> usize {
        match &self.0 {
            Name::Path(path) => path.as_os_str().len(),
            Name::Abstract(name) => name.len(),
        }
    }

    /// As it was given, and as /proc/net/unix has it.
    pub(crate) fn as_written(&self) -> Vec<u8> {
        match &self.0 {
            Name::Path(path) => path.as_os_str().as_bytes().to_vec(),
            Name::Abstract(name) => [b"@", &name[..]].concat(),
        }
    }

    /// For an error about a socket whose name is not known.
    pub(crate) fn unnamed() -> Self {
        Self(Name::Path("the inherited socket".into()))
    }

    /// Where a socket that somebody else has bound is.
    pub(crate) fn of_socket(name: &SocketAddr) -> Self {
        if let Some(path) = name.as_pathname() {
            return Self(Name::Path(path.to_path_buf()));
        }
        name.as_abstract_name()
            .map_or_else(Self::unnamed, |name| Self(Name::Abstract(name.to_vec())))
    }

    /// Whether a file that is no socket has this name.
    pub(crate) fn is_other_file(&self) -> bool {
        self.path()
            .and_then(|path| path.metadata().ok())
            .is_some_and(|file| !file.file_type().is_socket())
    }

    /// Whether the file of this name was deleted and is only still mounted here, as a socket file that was
    /// mounted into a container is after its server has started again.
    pub(crate) fn is_deleted_file(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        self.path().and_then(|path| path.metadata().ok()).is_some_and(|file| file.nlink() == 0)
    }

    pub(crate) fn to_kernel(&self) -> rustix::io::Result<SocketAddrUnix> {
        match &self.0 {
            Name::Path(path) => SocketAddrUnix::new(path.as_path()),
            Name::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Path(path) => f.write_str(&shown(path)),
            Name::Abstract(name) => write!(f, "@{}", shown(OsStr::from_bytes(name).as_ref())),
        }
    }
}

/// For people. Control characters are escaped: they would act on the terminal.
pub(crate) fn shown(path: &Path) -> String {
    let mut text = String::new();
    for one in path.to_string_lossy().chars() {
        match one.is_control() {
            true => text.extend(one.escape_debug()),
            false => text.push(one),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_107_bytes_is_taken_and_one_of_108_refused_with_both_numbers() {
        let longest = "x".repeat(LONGEST);
        assert!(Address::new(&longest).is_ok());
        let error = Address::new(format!("{longest}x")).unwrap_err().to_string();
        assert!(error.contains("108") && error.contains("107"), "{error}");
    }

    #[test]
    fn an_abstract_name_may_fill_the_same_107_bytes() {
        assert!(Address::new(format!("@{}", "x".repeat(LONGEST))).is_ok());
        assert!(Address::new(format!("@{}", "x".repeat(LONGEST + 1))).is_err());
    }

    #[test]
    fn nothing_and_a_nul_are_refused() {
        for bad in ["", "@", "a\0b"] {
            let error = Address::new(bad).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::BadAddress { .. }), "{error}");
        }
    }

    #[test]
    fn it_is_shown_as_it_is_written() {
        for name in ["/run/app.sock", "app.sock", "./@file", "@abstract"] {
            assert_eq!(Address::new(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_name_that_would_act_on_the_terminal_is_escaped() {
        for name in ["a\x1b[31m\n", "@a\x1b[31m\n"] {
            let expected = name.replace('\x1b', r"\u{1b}").replace('\n', r"\n");
            assert_eq!(Address::new(name).unwrap().to_string(), expected);
        }
    }
}
