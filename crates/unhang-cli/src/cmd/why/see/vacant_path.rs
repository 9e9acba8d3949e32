//! Where a name leads under which there is nothing: what is not there has no number to be known by.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use serde::{Deserialize, Serialize};

use super::file_id::{id_as_seen_by, id_of};
use super::path_bytes;
use crate::sock_diag::FileId;

/// The nearest directory that is there, in the kernel's own numbers, and the names below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VacantPath {
    directory: FileId,
    #[serde(with = "path_bytes")]
    below: PathBuf,
}

impl VacantPath {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Self::find(path, |directory| {
            let directory =
                File::from(open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?);
            id_of(&directory, "self").ok()
        })
    }

    /// As a process sees it, which may have another root than we.
    pub(crate) fn as_seen_by(pid: u32, name: &[u8]) -> Option<Self> {
        Self::find(Path::new(OsStr::from_bytes(name)), |directory| {
            id_as_seen_by(pid, directory.as_os_str().as_bytes()).ok()
        })
    }

    fn find(path: &Path, id: impl Fn(&Path) -> Option<FileId>) -> Option<Self> {
        path.ancestors().skip(1).find_map(|directory| {
            let below = path.strip_prefix(directory).ok()?.to_path_buf();
            let is_current = directory.as_os_str().is_empty();
            let directory = id(if is_current { Path::new(".") } else { directory })?;
            Some(Self { directory, below })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_in_one_place_however_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("real")).unwrap();
        std::os::unix::fs::symlink(path("real"), path("link")).unwrap();
        let place = VacantPath::of(&path("real/s"));
        assert!(place.is_some());
        assert_eq!(place, VacantPath::of(&path("link/s")));
        assert_eq!(place, VacantPath::of(&path("real/../real/s")));
        let name = path("real/s");
        assert_eq!(place, VacantPath::as_seen_by(std::process::id(), name.as_os_str().as_bytes()));
        assert_ne!(place, VacantPath::of(&path("real/t")));
        assert_ne!(place, VacantPath::of(&path("s")));
        assert_eq!(VacantPath::of(&path("gone/s")), VacantPath::of(&path("link/../gone/s")));
        assert_ne!(VacantPath::of(&path("gone/s")), VacantPath::of(&path("gone/too/s")));
        assert!(VacantPath::of(Path::new("no-such-file")).is_some());
    }
}
