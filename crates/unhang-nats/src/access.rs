//! With what a process comes to a cluster: user and password, a key, or a credentials file; and its own
//! authority for TLS.

use std::fmt;
use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;

use crate::address::Address;

/// With what a process comes to a cluster. Without any, as nobody.
#[derive(Clone, Debug, Default)]
pub struct Access {
    credentials: Option<PathBuf>,
    authority: Option<PathBuf>,
}

/// A file that cannot be used. `Display` says which, why, and what is expected.
#[derive(Debug)]
pub struct BadAccess(String);

impl Access {
    /// A file with credentials (a JWT and its key, as `nsc` writes them), or with the seed of an nkey alone.
    #[must_use]
    pub fn credentials(self, file: impl Into<PathBuf>) -> Self {
        Self { credentials: Some(file.into()), ..self }
    }

    /// A file of certificates (PEM) that vouch for the nodes, in place of the system's. Its nodes are spoken
    /// to by TLS alone.
    #[must_use]
    pub fn authority(self, file: impl Into<PathBuf>) -> Self {
        Self { authority: Some(file.into()), ..self }
    }

    /// What async-nats is told. Reads the files, so that an error is told at the start.
    pub(crate) fn options(&self, address: &Address) -> Result<ConnectOptions, BadAccess> {
        let mut options = ConnectOptions::new();
        match (&self.credentials, &address.user) {
            (Some(_), Some(_)) => {
                return Err(BadAccess(
                    "expected either USER:PASSWORD@ in the address or a file with credentials, got both"
                        .into(),
                ));
            }
            (Some(file), None) => options = with_file(options, file)?,
            (None, Some((user, password))) => {
                options = options.user_and_password(user.clone(), password.clone());
            }
            (None, None) => {}
        }
        if let Some(file) = &self.authority {
            let text = read(file)?;
            if !text.contains("-----BEGIN CERTIFICATE-----") {
                return Err(bad(file, "expected certificates in PEM (BEGIN CERTIFICATE)"));
            }
            options = options.add_root_certificates(file.clone()).require_tls(true);
        } else if address.tls {
            options = options.require_tls(true);
        }
        Ok(options)
    }
}

fn with_file(options: ConnectOptions, file: &Path) -> Result<ConnectOptions, BadAccess> {
    let text = read(file)?;
    let seed = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    match seed {
        // A user's seed: nkeys, "S" for seed and "U" for user.
        Some(seed) if seed.starts_with("SU") => Ok(options.nkey(seed.to_owned())),
        _ if text.contains("-----BEGIN NATS USER JWT-----") => options
            .credentials(&text)
            .map_err(|error| bad(file, format!("it has a JWT and no key that fits: {error}"))),
        _ => Err(bad(
            file,
            "expected a credentials file (BEGIN NATS USER JWT), or the seed of a user's nkey (SU…)",
        )),
    }
}

fn read(file: &Path) -> Result<String, BadAccess> {
    std::fs::read_to_string(file).map_err(|error| bad(file, format!("cannot be read: {error}")))
}

fn bad(file: &Path, why: impl fmt::Display) -> BadAccess {
    BadAccess(format!("{}: {why}", file.display()))
}

impl fmt::Display for BadAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadAccess {}
