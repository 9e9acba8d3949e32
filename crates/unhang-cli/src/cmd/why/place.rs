//! Where a name leads under which there is nothing: what is not there has no number to be known by.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::file::{id_as_seen_by, id_of};
use crate::sock_diag::FileId;

/// The nearest folder that is there, in the kernel's own numbers, and the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    folder: FileId,
    below: PathBuf,
}

impl Place {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Self::find(path, |folder| {
            let folder =
                File::from(open(folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?);
            id_of(&folder, "self").ok()
        })
    }

    /// As a process sees it, which may have another root than we.
    pub(crate) fn as_seen_by(pid: u32, name: &[u8]) -> Option<Self> {
        Self::find(Path::new(OsStr::from_bytes(name)), |folder| {
            id_as_seen_by(pid, folder.as_os_str().as_bytes()).ok()
        })
    }

    fn find(path: &Path, id: impl Fn(&Path) -> Option<FileId>) -> Option<Self> {
        path.ancestors().skip(1).find_map(|folder| {
            let below = path.strip_prefix(folder).ok()?.to_path_buf();
            let is_current = folder.as_os_str().is_empty();
            let folder = id(if is_current { Path::new(".") } else { folder })?;
            Some(Self { folder, below })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_in_one_place_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("real")).unwrap();
        std::os::unix::fs::symlink(path("real"), path("link")).unwrap();
        let place = Place::of(&path("real/s"));
        assert!(place.is_some());
        assert_eq!(place, Place::of(&path("link/s")));
        assert_eq!(place, Place::of(&path("real/../real/s")));
        let name = path("real/s");
        assert_eq!(place, Place::as_seen_by(std::process::id(), name.as_os_str().as_bytes()));
        assert_ne!(place, Place::of(&path("real/t")));
        assert_ne!(place, Place::of(&path("s")));
        assert_eq!(Place::of(&path("gone/s")), Place::of(&path("link/../gone/s")));
        assert_ne!(Place::of(&path("gone/s")), Place::of(&path("gone/too/s")));
        assert!(Place::of(Path::new("no-such-file")).is_some());
    }
}
