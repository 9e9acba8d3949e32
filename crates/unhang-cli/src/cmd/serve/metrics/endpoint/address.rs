//! Where the counters are to be read, as it is written on the command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::shell::quoted;

/// Where to listen.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        if text.contains('/') || text.starts_with('@') {
            return Ok(Self::Unix(text.to_owned()));
        }
        Err(format!("expected an address as 127.0.0.1:9090, or a socket's path, got {text:?}"))
    }
}

impl Address {
    /// Whether it is the socket of this name, too.
    pub(crate) fn is(&self, name: &Path) -> bool {
        let Self::Unix(path) = self else { return false };
        let path = Path::new(path);
        let is_abstract = |name: &Path| name.as_os_str().as_encoded_bytes().starts_with(b"@");
        if is_abstract(path) || is_abstract(name) {
            return path == name;
        }
        real(path).is_some_and(|path| real(name) == Some(path))
    }
}

/// However its directory is spelled.
fn real(file: &Path) -> Option<PathBuf> {
    let directory = match file.parent()? {
        directory if directory.as_os_str().is_empty() => Path::new("."),
        directory => directory,
    };
    Some(directory.canonicalize().ok()?.join(file.file_name()?))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(name) => f.write_str(&quoted(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_however_its_directory_is_spelled() {
        let is =
            |address: &str, name: &str| address.parse::<Address>().unwrap().is(Path::new(name));
        assert!(is("./s", "s") && is("/tmp/../tmp/s", "/tmp/s") && is("@s", "@s"));
        assert!(!is("@s", "./@s") && !is("./@s", "@s") && !is("127.0.0.1:1", "127.0.0.1:1"));
        assert!(!is("/missing/a", "/missing/b"));
    }
}
