//! Where the counters are to be read, as it is written on the command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::shell::quoted;

/// Where to listen.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(String),
}

impl FromStr for Place {
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

impl Place {
    /// Whether it is the socket of this name, too.
    pub(crate) fn is(&self, name: &Path) -> bool {
        let Self::Unix(place) = self else { return false };
        let place = Path::new(place);
        let is_abstract = |name: &Path| name.as_os_str().as_encoded_bytes().starts_with(b"@");
        if is_abstract(place) || is_abstract(name) {
            return place == name;
        }
        real(place).is_some_and(|place| real(name) == Some(place))
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

impl fmt::Display for Place {
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
    fn a_place_is_a_socket_however_its_directory_is_spelled() {
        let is = |place: &str, name: &str| place.parse::<Place>().unwrap().is(Path::new(name));
        assert!(is("./s", "s") && is("/tmp/../tmp/s", "/tmp/s") && is("@s", "@s"));
        assert!(!is("@s", "./@s") && !is("./@s", "@s") && !is("127.0.0.1:1", "127.0.0.1:1"));
        assert!(!is("/missing/a", "/missing/b"));
    }
}
