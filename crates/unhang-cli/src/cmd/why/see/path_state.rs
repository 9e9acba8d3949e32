//! What has become of the name that a listener bound.

use std::io;

use serde::{Deserialize, Serialize};

use super::file_id;
use super::other_name::OtherNames;
use super::vacant_path::VacantPath;
use crate::sock_diag::FileId;

/// What a listener's name leads to, as its own process sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PathState {
    /// To this very socket.
    Same,
    /// No more, but this name does.
    Renamed(Vec<u8>),
    /// To another file, under which nobody reaches this listener.
    Other(FileId),
    /// It was deleted; the place where it was, if that is to be seen.
    Missing(Option<VacantPath>),
}

impl PathState {
    /// None if the listener's own view of the files may not be seen, or is not known: it may have
    /// left the directory that it gave a relative name in.
    pub(crate) fn of(names: &mut OtherNames, pid: u32, name: &[u8], bound: FileId) -> Option<Self> {
        if file_id::leads_to(pid, name, bound) {
            return Some(Self::Same);
        }
        let is_relative = name.first() != Some(&b'/');
        match file_id::id_as_seen_by(pid, name) {
            Ok(found) if found == bound => Some(Self::Same),
            _ if is_relative => None,
            found => {
                // Many a server binds a name of the moment, and renames it or links it.
                if let Some(name) = names.find(pid, name, bound) {
                    return Some(Self::Renamed(name));
                }
                match found {
                    Ok(found) => Some(Self::Other(found)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        Some(Self::Missing(VacantPath::as_seen_by(pid, name)))
                    }
                    Err(_) => None,
                }
            }
        }
    }
}
