//! The file of a page: replaced whole, so that no reader sees half of one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};

/// What every page of ours begins with. A file that does not is somebody's, and stays.
pub(super) const MARK: &str = "<!doctype html><!-- unhang why -->";

/// Writes the page beside the file and renames it over the file. An error says what is there instead of a page, or
/// what the system said.
pub(crate) fn replace(path: &Path, page: &str) -> io::Result<()> {
    let mode = mode_of_old_page(path)?;
    let (mut file, temporary) = create_beside(path)?;
    let written = file
        .write_all(page.as_bytes())
        .and_then(|()| mode.map_or(Ok(()), |mode| file.set_permissions(mode)))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// None: there is no file yet. Neither a link nor a device is followed: root's rename would replace it.
fn mode_of_old_page(path: &Path) -> io::Result<Option<Permissions>> {
    let kind = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => None,
        Ok(found) if found.is_dir() => Some("a directory"),
        Ok(found) if found.is_symlink() => Some("a symbolic link"),
        Ok(_) => Some("a socket or a device"),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if let Some(kind) = kind {
        let expected = "expected a file's name, or a page that unhang why has written";
        return Err(io::Error::other(format!("{expected}, got {kind}: give another name")));
    }
    // Whatever has come in its place meanwhile does not make us wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mut start = Vec::new();
    (&file).take(MARK.len() as u64).read_to_end(&mut start)?;
    if !start.is_empty() && start != MARK.as_bytes() {
        let what =
            "there is a file that unhang why has not written: remove it, or give another name";
        return Err(io::Error::other(what));
    }
    Ok(Some(Permissions::from_mode(file.metadata()?.permissions().mode() & 0o777)))
}

/// A file that did not exist: in a directory that others may write to, its name may be taken, or a link.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    const TRIES: u32 = 16;
    let mut last = io::Error::from(ErrorKind::AlreadyExists);
    for nth in 0..TRIES {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!(".unhang-why-{}-{}-{nth}", std::process::id(), now.as_nanos());
        let temporary = path.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_page_is_replaced_whole_and_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("why.html");
        replace(&path, &format!("{MARK}one")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let mut first = File::open(&path).unwrap();
        replace(&path, &format!("{MARK}two")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{MARK}two"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let mut text = String::new();
        first.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("{MARK}one"), "a reader keeps the page that it opened");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_no_page_of_ours_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("precious"), "precious").unwrap();
        symlink(at("precious"), at("link")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, said) in [
            ("precious", "has not written"),
            ("link", "a symbolic link"),
            ("directory", "a directory"),
            ("socket", "a socket"),
        ] {
            let error = replace(&at(name), MARK).unwrap_err().to_string();
            assert!(error.contains(said), "{name}: {error}");
        }
        assert_eq!(fs::read_to_string(at("precious")).unwrap(), "precious");
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        let missing = replace(&at("nowhere/why.html"), MARK).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 4, "nothing is left beside them");
    }
}
