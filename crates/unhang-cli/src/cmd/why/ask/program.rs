//! Opens the file of a process's program, or of a library in it, and no other: a name is its
//! process's to choose, and may lead to a device or a pipe by now.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::elf::Image;
use super::memory::{Mapping, Memory, refused};
use crate::cmd::why::see::file_id;

/// Should it be a pipe after all, opening it must not wait for a writer.
const O_NONBLOCK: i32 = 0o4000;

/// The program that the process runs.
pub(super) fn of_process(pid: u32, memory: &Memory) -> Result<Image, String> {
    let link = format!("/proc/{pid}/exe");
    let path = fs::read_link(&link).map_err(|error| refused(pid, &error))?;
    // The kernel follows this link to the very file, whatever its name leads to by now.
    let file = File::open(&link).map_err(|error| refused(pid, &error))?;
    Image::new(Box::new(file), &path.to_string_lossy(), memory)
}

/// A library that is mapped into the process.
pub(super) fn of_library(pid: u32, mapping: &Mapping, memory: &Memory) -> Result<Image, String> {
    Image::new(Box::new(open_mapped(pid, mapping)?), &mapping.path, memory)
}

fn open_mapped(pid: u32, mapping: &Mapping) -> Result<File, String> {
    let Mapping { start, end, path, .. } = mapping;
    // Takes CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE (`proc_pid_map_files(5)`).
    if let Ok(file) = File::open(format!("/proc/{pid}/map_files/{start:x}-{end:x}")) {
        return Ok(file);
    }
    let named = |error: io::Error| format!("{path:?}: {error}");
    let place = file_id::open_as_seen_by(pid, path.as_bytes()).map_err(named)?;
    let is_file = place.metadata().map_err(named)?.is_file();
    let id = file_id::id_of(&place, &pid.to_string()).map_err(named)?;
    if !is_file || id != mapping.file {
        return Err(format!("{path:?} is not the file any more that is mapped"));
    }
    let mut options = File::options();
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    options.read(true).custom_flags(O_NONBLOCK).open(again).map_err(named)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Root opened any file of a user's choice: a library that is mapped, and whose name leads elsewhere.
    #[test]
    fn a_library_that_was_replaced_is_not_opened_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("libphp.so");
        fs::write(&path, "library").unwrap();
        let pid = std::process::id();
        let file = file_id::id_of(&File::open(&path).unwrap(), "self").unwrap();
        let named = path.to_str().unwrap().to_owned();
        let mapping = Mapping { start: 1, end: 2, offset: 0, file, path: named };
        assert!(open_mapped(pid, &mapping).is_ok());
        let refused = || open_mapped(pid, &mapping).unwrap_err();
        // Kept, so that no other file gets its number.
        fs::rename(&path, directory.path().join("kept")).unwrap();
        fs::write(&path, "another").unwrap();
        assert!(refused().contains("not the file any more"));
        for device in ["/dev/zero", "/etc/passwd"] {
            fs::remove_file(&path).unwrap();
            symlink(device, &path).unwrap();
            assert!(refused().contains("not the file any more"), "{device}");
        }
        fs::remove_file(&path).unwrap();
        // To open it for reading would wait for a writer.
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(refused().contains("not the file any more"));
    }
}
