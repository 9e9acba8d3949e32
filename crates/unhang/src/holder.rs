//! Who holds an address: so that an error can name the process to stop.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::address::Address;

/// Notes our process id in the lock file, for whoever finds it locked.
pub(crate) fn write(mut lock: &File) {
    // Only a courtesy: the lock itself is what counts.
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
}

/// Reads what [`write`] noted. `None` in the moment between the lock and the note.
pub(crate) fn read(mut lock: &File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Finds the process that listens on the address: /proc/net/unix gives the socket's inode, and
/// /proc/PID/fd who has it open. `None` where this user may not see that, or where it was bound
/// under another spelling of the path.
pub(crate) fn pid(address: &Address) -> Option<u32> {
    let inode = listening_inode(&fs::read("/proc/net/unix").ok()?, address)?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|descriptors| {
            descriptors
                .flatten()
                .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == Path::new(&link)))
        })
    })
}

/// Columns: `Num RefCount Protocol Flags Type St Inode Path`, proc(5).
fn listening_inode(table: &[u8], address: &Address) -> Option<u64> {
    let name = match address.path() {
        Some(path) => path.as_os_str().as_bytes().to_vec(),
        None => address.to_string().into_bytes(),
    };
    table.split(|&byte| byte == b'\n').find_map(|line| {
        let row = line.strip_suffix(&name[..])?.strip_suffix(b" ")?;
        let mut columns = std::str::from_utf8(row).ok()?.split_ascii_whitespace();
        // __SO_ACCEPTCON in the flags: it listens, and is not one of the accepted connections.
        (columns.nth(3)? == "00010000").then_some(())?;
        columns.nth(2)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000003 00000000 00000000 0001 03 21 /run/app.sock
0000000000000000: 00000002 00000000 00010000 0001 01 22 /run/app.sock
0000000000000000: 00000002 00000000 00010000 0001 01 23 @app
";

    #[test]
    fn the_listener_is_told_from_its_connections_and_from_other_names() {
        let inode = |name| listening_inode(TABLE, &Address::new(name).unwrap());
        assert_eq!(inode("/run/app.sock"), Some(22));
        assert_eq!(inode("@app"), Some(23));
        assert_eq!(inode("app.sock"), None);
        assert_eq!(inode("/run/other.sock"), None);
    }
}
