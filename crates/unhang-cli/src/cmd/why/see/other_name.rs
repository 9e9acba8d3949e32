//! Another name of a socket whose first one is gone. A server may have renamed or linked it, its directory
//! may have been moved, and it may have changed its root or its view of the mounts since.
//!
//! `SIOCUNIXFILE` would tell it of any socket whose descriptor may be duplicated, but that takes `CAP_NET_ADMIN`, and a
//! system call that no safe wrapper has. So it is looked for where servers put it; and if it is nowhere
//! there, no more is said than that the first name is gone.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};

use super::file_id::{id_as_seen_by, leads_to, open_as_seen_by};
use crate::sock_diag::FileId;

/// The directories that were listed, each once: thousands of sockets may lie in one.
#[derive(Debug, Default)]
pub(crate) struct OtherNames {
    /// By device and inode of the directory, and by the inodes in it.
    listed: HashMap<(u64, u64), HashMap<u64, Vec<OsString>>>,
    /// How many names were tried.
    tried: usize,
}

/// Of a directory with more names no more are looked at: it may be anybody's, and of any size.
const MOST_LISTED: usize = 10_000;
/// So many names are tried in all, some microseconds each.
const MOST_TRIED: usize = 20_000;

impl OtherNames {
    /// The name that leads to the file with these numbers, as the process sees it or as we do.
    pub(crate) fn find(&mut self, pid: u32, name: &[u8], wanted: FileId) -> Option<Vec<u8>> {
        let here = std::process::id();
        self.beside(pid, name, wanted)
            .or_else(|| leads_to(here, name, wanted).then(|| name.to_vec()))
            .or_else(|| self.in_moved_directory(pid, name, wanted))
    }

    /// In the same directory.
    fn beside(&mut self, pid: u32, name: &[u8], wanted: FileId) -> Option<Vec<u8>> {
        let (directory, _) = split(name)?;
        let names = self.list(pid, directory)?.get(&u64::from(wanted.inode))?.clone();
        let mut paths = names.iter().map(|name| [directory, name.as_bytes()].concat());
        paths.find(|path| id_as_seen_by(pid, path).is_ok_and(|found| found == wanted))
    }

    /// Under the same name, in a directory beside the one that it was in.
    fn in_moved_directory(&mut self, pid: u32, name: &[u8], wanted: FileId) -> Option<Vec<u8>> {
        let (directory, file) = split(name)?;
        let (above, _) = split(directory.strip_suffix(b"/")?)?;
        let names: Vec<OsString> = self.list(pid, above)?.values().flatten().cloned().collect();
        for beside in names {
            self.tried += 1;
            if self.tried > MOST_TRIED {
                return None;
            }
            let path = [above, beside.as_bytes(), b"/", file].concat();
            if leads_to(pid, &path, wanted) {
                return Some(path);
            }
        }
        None
    }

    fn list(&mut self, pid: u32, directory: &[u8]) -> Option<&HashMap<u64, Vec<OsString>>> {
        let opened = open_as_seen_by(pid, directory).ok()?;
        let status = opened.metadata().ok()?;
        let names = self.listed.entry((status.dev(), status.ino()));
        Some(names.or_insert_with(|| {
            let mut names: HashMap<u64, Vec<OsString>> = HashMap::new();
            let listed = fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()));
            for entry in listed.into_iter().flatten().take(MOST_LISTED).filter_map(Result::ok) {
                names.entry(entry.ino()).or_default().push(entry.file_name());
            }
            names
        }))
    }
}

/// The directory with its slash, and the name in it.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    Some(path.split_at(slash + 1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;

    fn bytes(path: &Path) -> Vec<u8> {
        path.as_os_str().as_bytes().to_vec()
    }

    #[test]
    fn a_socket_that_was_renamed_is_found_beside_its_first_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let _listener = UnixListener::bind(path("first")).unwrap();
        let pid = std::process::id();
        let id = id_as_seen_by(pid, &bytes(&path("first"))).unwrap();
        let find = |name: &[u8]| OtherNames::default().find(pid, name, id);
        fs::rename(path("first"), path("second")).unwrap();
        assert_eq!(find(&bytes(&path("first"))), Some(bytes(&path("second"))));
        fs::remove_file(path("second")).unwrap();
        fs::write(path("third"), "").unwrap();
        assert_eq!(find(&bytes(&path("first"))), None);
        assert_eq!(find(b"no slash"), None);
    }

    /// It was said to be deleted.
    #[test]
    fn a_socket_whose_directory_was_moved_is_found_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("run")).unwrap();
        let _listener = UnixListener::bind(path("run/s")).unwrap();
        let pid = std::process::id();
        let id = id_as_seen_by(pid, &bytes(&path("run/s"))).unwrap();
        fs::rename(path("run"), path("run.old")).unwrap();
        let find = || OtherNames::default().find(pid, &bytes(&path("run/s")), id);
        assert_eq!(find(), Some(bytes(&path("run.old/s"))));
        // As if it was replaced.
        fs::create_dir(path("run")).unwrap();
        assert_eq!(find(), Some(bytes(&path("run.old/s"))));
        fs::remove_file(path("run.old/s")).unwrap();
        assert_eq!(find(), None);
    }

    /// Regression: 4,000 listeners whose names were gone had their directory listed 4,000 times.
    #[test]
    fn a_directory_is_listed_once_for_all_that_were_bound_in_it() {
        let directory = tempfile::tempdir().unwrap();
        for n in 0..100 {
            fs::write(directory.path().join(n.to_string()), "").unwrap();
        }
        let mut names = OtherNames::default();
        let id = FileId { inode: 1, major: 0, minor: 0 };
        for n in 0..1_000 {
            let name = bytes(&directory.path().join(format!("gone{n}")));
            assert_eq!(names.find(std::process::id(), &name, id), None);
        }
        // The directory itself, and the one above it.
        assert_eq!(names.listed.len(), 2);
        assert!(names.tried <= MOST_TRIED + 1_000, "{}", names.tried);
    }
}
