//! Where the server is: a Unix socket, or for comparisons a port of this machine.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, getsockname, socket_with,
};
use unhang::Address;

use crate::connection::Connection;

#[derive(Clone, Debug)]
pub(super) enum Target {
    Unix { address: Address, to_kernel: SocketAddrUnix },
    Tcp(SocketAddr),
}

impl Target {
    /// A path need not be text.
    pub(super) fn parse(place: &OsStr) -> Result<Self, String> {
        let bytes = place.as_bytes();
        if let Some(place) = bytes.strip_prefix(b"tcp:") {
            return tcp(&String::from_utf8_lossy(place)).map(Self::Tcp);
        }
        let address = Address::new(place).map_err(|error| error.to_string())?;
        let to_kernel = match bytes.strip_prefix(b"@") {
            Some(name) => SocketAddrUnix::new_abstract_name(name),
            None => SocketAddrUnix::new(bytes),
        };
        Ok(Self::Unix { address, to_kernel: to_kernel.map_err(|error| error.to_string())? })
    }
}

fn tcp(place: &str) -> Result<SocketAddr, String> {
    let expected = || format!("expected tcp:HOST:PORT, as tcp:127.0.0.1:8080, got tcp:{place:?}");
    // "localhost" is looked up nowhere: a load must not depend on a resolver's answer.
    let place = place
        .strip_prefix("localhost:")
        .map_or_else(|| place.to_owned(), |port| format!("127.0.0.1:{port}"));
    let address: SocketAddr = place.parse().map_err(|_| expected())?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => Ok(address),
        IpAddr::V6(ip) if ip.is_loopback() => Ok(address),
        ip => Err(format!(
            "{ip} is not of this machine: a load is only put on loopback addresses, as 127.0.0.1"
        )),
    }
}

/// How far connecting got.
pub(super) enum Connected {
    Yes(Connection),
    /// Writable when it is connected or has failed: only with TCP.
    Soon(Connection),
}

impl Target {
    /// `Errno::AGAIN`: the accept queue is full, and may have room soon.
    pub(super) fn connect(&self) -> Result<Connected, Errno> {
        let family = match self {
            Self::Unix { .. } => AddressFamily::UNIX,
            Self::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Self::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        let connection = match self {
            Self::Unix { .. } => Connection::to_unix_socket(socket),
            Self::Tcp(_) => Connection::over_tcp(socket),
        };
        let result = match self {
            Self::Unix { to_kernel, .. } => connect(&connection, to_kernel),
            Self::Tcp(address) => connect(&connection, address),
        };
        match result {
            Ok(()) if self.is_itself(&connection) => Err(Errno::CONNREFUSED),
            Ok(()) => Ok(Connected::Yes(connection)),
            Err(Errno::INPROGRESS) => Ok(Connected::Soon(connection)),
            Err(error) => Err(error),
        }
    }

    /// Whether it is connected to itself: if nobody listens on a port, the kernel may give that very
    /// port to a client, whose call then meets itself. It would hear its own request as the reply.
    pub(super) fn is_itself(&self, socket: impl AsFd) -> bool {
        let Self::Tcp(address) = self else { return false };
        getsockname(socket).is_ok_and(|own| SocketAddr::try_from(own) == Ok(*address))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { address, .. } => address.fmt(f),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target, String> {
        Target::parse(OsStr::new(text))
    }

    #[test]
    fn every_kind_is_shown_as_it_is_written() {
        for text in ["/run/app.sock", "@app", "tcp:127.0.0.1:80", "tcp:[::1]:80"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("tcp:localhost:80").unwrap().to_string(), "tcp:127.0.0.1:80");
    }

    #[test]
    fn another_machine_and_half_an_address_are_refused() {
        let error = parse("tcp:192.0.2.1:80").unwrap_err();
        assert!(error.contains("192.0.2.1") && error.contains("loopback"), "{error}");
        for text in ["tcp:127.0.0.1", "tcp:", "tcp:example.org:80"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("tcp:HOST:PORT"), "{error}");
        }
        assert!(parse("").is_err());
    }
}
