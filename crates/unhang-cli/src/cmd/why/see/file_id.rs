//! The kernel's own numbers for a file, by which the sockets are told apart.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, major, minor, openat2, statx};

use crate::sock_diag::FileId;

/// The kernel's own numbers for the file that the name of a socket leads one process to.
pub(crate) fn id_as_seen_by(pid: u32, name: &[u8]) -> io::Result<FileId> {
    id_of(&open_as_seen_by(pid, name)?, &pid.to_string())
}

/// Whether the name leads the process to this very file. The table of mounts, which may be long, is
/// asked only if `stat()` alone does not tell.
pub(crate) fn leads_to(pid: u32, name: &[u8], wanted: FileId) -> bool {
    let Ok(file) = open_as_seen_by(pid, name) else { return false };
    let Ok(status) = file.metadata() else { return false };
    status.ino() & u64::from(u32::MAX) == u64::from(wanted.inode)
        && (major(status.dev()), minor(status.dev())) == (wanted.major, wanted.minor)
}

/// The file that the name of a socket leads one process to, which may have another root than we, or
/// a directory to begin at. As `connect()` does, this follows links; and they, too, are the process's: an
/// absolute one begins at its root.
pub(crate) fn open_as_seen_by(pid: u32, name: &[u8]) -> io::Result<File> {
    let begin = match name.first() {
        Some(0) | None => return Err(io::ErrorKind::InvalidInput.into()),
        // `/proc/self` would be ourselves.
        Some(b'/') if name.starts_with(b"/proc/") => {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Some(b'/') => "root",
        Some(_) => "cwd",
    };
    // That this is not to be found says nothing of what lies below it.
    let ended = |_| io::Error::from(io::ErrorKind::Unsupported);
    let directory = File::open(format!("/proc/{pid}/{begin}")).map_err(ended)?;
    // Below a current directory, nothing tells where the root is: plain, and links are taken as ours.
    let within = if begin == "root" { ResolveFlags::IN_ROOT } else { ResolveFlags::empty() };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(openat2(directory, OsStr::from_bytes(name), flags, Mode::empty(), within)?.into())
}

/// The kernel's own numbers for a file, as a process sees it that is given as in /proc.
pub(crate) fn id_of(file: &File, process: &str) -> io::Result<FileId> {
    let status = file.metadata()?;
    // The kernel tells no more of it.
    #[allow(clippy::cast_possible_truncation)]
    let inode = status.ino() as u32;
    let device = (major(status.dev()), minor(status.dev()));
    let (major, minor) = mounted_device(file, process).unwrap_or(device);
    Ok(FileId { inode, major, minor })
}

/// The device of the file system as a whole. For a file of btrfs, or of some overlays, `stat()` gives
/// another, of its own making.
fn mounted_device(file: &File, process: &str) -> Option<(u32, u32)> {
    let status = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let is_known = status.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    let mount = is_known.then(|| status.stx_mnt_id.to_string())?;
    device_of(&mount, &fs::read_to_string(format!("/proc/{process}/mountinfo")).ok()?)
}

/// The third column of the mount's line: `MOUNT PARENT MAJOR:MINOR ROOT …`, `proc_pid_mountinfo(5)`.
fn device_of(mount: &str, mounts: &str) -> Option<(u32, u32)> {
    let rest = |line: &'_ str| line.strip_prefix(mount)?.strip_prefix(' ').map(str::len);
    let (line, length) = mounts.lines().find_map(|line| Some((line, rest(line)?)))?;
    let (major, minor) = line.get(line.len() - length..)?.split(' ').nth(1)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_mounts_device_is_found_by_its_number() {
        let mounts = "29 1 0:25 / / rw - btrfs /dev/vda rw\n30 29 254:1 / /run rw - tmpfs t rw\n";
        assert_eq!(device_of("30", mounts), Some((254, 1)));
        assert_eq!(device_of("29", mounts), Some((0, 25)));
        for other in ["3", "31", ""] {
            assert_eq!(device_of(other, mounts), None);
        }
        for garbled in ["30", "30 29", "30 29 x:1", "30 29 254", "\n\n"] {
            assert_eq!(device_of("30", garbled), None, "{garbled}");
        }
    }

    #[test]
    fn the_kernel_and_the_file_system_give_a_socket_the_same_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let name = path.as_os_str().as_bytes();
        let expected = Some(id_as_seen_by(std::process::id(), name).unwrap());
        let sockets = crate::sock_diag::dump().unwrap();
        assert!(sockets.iter().any(|socket| socket.file == expected));
    }
}
