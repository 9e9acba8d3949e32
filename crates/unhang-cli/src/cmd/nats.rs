//! Services on other machines, behind NATS: how they are named, and with what a process comes to them.

#[cfg(feature = "nats")]
use std::path::PathBuf;

use clap::Args;

/// What is said if this command was built without it.
#[cfg(not(feature = "nats"))]
pub(crate) const MISSING: &str = "this unhang was built without NATS: take a released one, or build it with \
                                  cargo install unhang-cli --features nats";

/// Whether a text names such a service.
pub(crate) fn is_meant(text: &std::ffi::OsStr) -> bool {
    let text = text.as_encoded_bytes();
    text.starts_with(b"nats://") || text.starts_with(b"tls://")
}

/// With what a process comes to the nodes.
#[cfg(feature = "nats")]
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Many machines (docs/many-machines.md)")]
pub(crate) struct Access {
    /// For NATS: a credentials file, or a file with the seed of an nkey
    #[arg(long, value_name = "FILE")]
    nats_creds: Option<PathBuf>,
    /// For NATS: the certificates (PEM) that vouch for its nodes; all is TLS then
    #[arg(long, value_name = "FILE")]
    nats_ca: Option<PathBuf>,
}

#[cfg(not(feature = "nats"))]
#[derive(Args, Clone, Debug)]
pub(crate) struct Access {}

#[cfg(feature = "nats")]
impl Access {
    pub(crate) fn access(&self) -> unhang_nats::Access {
        let mut access = unhang_nats::Access::default();
        if let Some(file) = &self.nats_creds {
            access = access.credentials(file);
        }
        if let Some(file) = &self.nats_ca {
            access = access.authority(file);
        }
        access
    }

    /// Whether one was given, which is wrong with a socket.
    pub(crate) fn given_with_socket(&self) -> bool {
        self.given().is_some()
    }

    /// A flag that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        match (&self.nats_creds, &self.nats_ca) {
            (Some(_), _) => Some("--nats-creds"),
            (None, Some(_)) => Some("--nats-ca"),
            (None, None) => None,
        }
    }
}

#[cfg(not(feature = "nats"))]
impl Access {
    #[expect(clippy::unused_self, reason = "there are no such flags")]
    pub(crate) fn given_with_socket(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "there are no such flags")]
    pub(crate) fn given(&self, _has_socket: bool) -> Option<&'static str> {
        None
    }
}

/// The service that a text names.
#[cfg(feature = "nats")]
pub(crate) fn address(text: &std::ffi::OsStr) -> Result<unhang_nats::Address, String> {
    text.to_string_lossy().parse().map_err(|bad: unhang_nats::BadAddress| bad.to_string())
}
