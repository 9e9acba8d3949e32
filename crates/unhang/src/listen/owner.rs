//! Which process holds an address: so that an error can name the process to stop.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::listen::address::Address;

/// Finds the process that has locked the file. `None` if it lives in a process-id namespace that
/// this one cannot see, and if it has handed the lock over and ended.
pub(crate) fn of_lock(lock: &File) -> Option<u32> {
    let file = lock.metadata().ok()?;
    let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    let id = format!("{major:02x}:{minor:02x}:{}", file.ino());
    let pid = lock_row(&fs::read_to_string("/proc/locks").ok()?, &id)?;
    Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
}

/// Rows: `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF`, `proc_locks(5)`.
pub(crate) fn lock_row(table: &str, id: &str) -> Option<u32> {
    table.lines().find_map(|row| {
        let columns: Vec<_> = row.split_ascii_whitespace().collect();
        match columns[..] {
            [_, "FLOCK", _, _, pid, file, ..] if file == id => pid.parse().ok(),
            _ => None,
        }
    })
}

/// Finds the process that is bound to the address: /proc/net/unix gives the socket's inode, and
/// /proc/PID/fd which process has it open. `None` if this user may not see that, or if it was bound
/// under another spelling of the path.
pub(crate) fn of_socket(address: &Address) -> Option<u32> {
    let inode = bound_inode(&fs::read("/proc/net/unix").ok()?, address)?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let all = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    oldest(all.filter(|pid: &u32| {
        fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|descriptors| {
            descriptors
                .flatten()
                .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == Path::new(&link)))
        })
    }))
}

/// Of several that have it open: the others were forked by that one, or got it passed.
fn oldest(processes: impl Iterator<Item = u32>) -> Option<u32> {
    let started = |pid| started(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    processes.filter_map(|pid| Some((started(pid)?, pid))).min().map(|(_, pid)| pid)
}

/// When a process started, in ticks since the machine did: `starttime`, `proc_pid_stat(5)`.
fn started(stat: &str) -> Option<u64> {
    // After the name, which may hold anything: the 22nd of all, the name being the second.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Columns: `Num RefCount Protocol Flags Type St Inode Path`, `proc(5)`.
pub(crate) fn bound_inode(table: &[u8], address: &Address) -> Option<u64> {
    let name = address.as_written();
    let rows = || {
        table.split(|&byte| byte == b'\n').filter_map(|line| {
            let row = line.strip_suffix(&name[..])?.strip_suffix(b" ")?;
            let row = std::str::from_utf8(row).ok()?;
            let columns: Vec<_> = row.split_ascii_whitespace().collect();
            match columns[..] {
                // A byte after the inode, and be it a space, begins a longer name.
                [_, _, _, flags, kind, state, inode] if row.ends_with(inode) => {
                    Some((flags, kind, state, inode.parse().ok()?))
                }
                _ => None,
            }
        })
    };
    // __SO_ACCEPTCON in the flags: it listens. Else one that is bound only, or a datagram socket, and
    // not one of the connections that were accepted.
    let listens = rows().find(|&(flags, ..)| flags == "00010000");
    listens
        .or_else(|| rows().find(|&(_, kind, state, _)| state == "01" || kind == "0002"))
        .map(|(.., inode)| inode)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::process::{Command, Stdio};

    use super::*;

    const TABLE: &[u8] = b"Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000003 00000000 00000000 0001 03 21 /run/app.sock
0000000000000000: 00000002 00000000 00010000 0001 01 22 /run/app.sock
0000000000000000: 00000002 00000000 00010000 0001 01 23 @app
0000000000000000: 00000003 00000000 00000000 0001 03 24 /run/gone.sock
0000000000000000: 00000002 00000000 00000000 0001 01 25 /run/bound.sock
0000000000000000: 00000002 00000000 00000000 0002 03 26 /run/datagram.sock
";

    #[test]
    fn the_lock_is_told_from_others_and_from_processes_that_wait_for_it() {
        let table = "1: FLOCK  ADVISORY  WRITE 700 fe:00:11 0 EOF
2: POSIX  ADVISORY  WRITE 701 fe:00:12 0 EOF
3: FLOCK  ADVISORY  WRITE 702 fe:00:12 0 EOF
3: -> FLOCK  ADVISORY  WRITE 703 fe:00:12 0 EOF
";
        assert_eq!(lock_row(table, "fe:00:12"), Some(702));
        assert_eq!(lock_row(table, "fe:00:13"), None);
    }

    #[test]
    fn the_listener_is_told_from_its_connections_and_from_other_names() {
        let inode = |name| bound_inode(TABLE, &Address::new(name).unwrap());
        assert_eq!(inode("/run/app.sock"), Some(22));
        assert_eq!(inode("@app"), Some(23));
        assert_eq!(inode("app.sock"), None);
        assert_eq!(inode("/run/other.sock"), None);
        assert_eq!(inode("/run/gone.sock"), None);
    }

    /// They were not.
    #[test]
    fn a_bound_socket_that_does_not_listen_is_found_and_so_is_a_datagram_server() {
        let inode = |name| bound_inode(TABLE, &Address::new(name).unwrap());
        assert_eq!(inode("/run/bound.sock"), Some(25));
        assert_eq!(inode("/run/datagram.sock"), Some(26));
    }

    /// The first in the table was named: once the numbers had begun anew, a child that had just been forked.
    #[test]
    fn of_several_that_have_it_the_oldest_is_named() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (own, younger) = (std::process::id(), child.id());
        assert_eq!(oldest([younger, own].into_iter()), Some(own));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(oldest([younger].into_iter()), None, "it is gone");
    }

    #[test]
    fn the_start_of_a_process_is_found_whatever_its_name() {
        let stat = "7 (a) S 2) S 1 7 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 4321 999 88 77";
        assert_eq!(started(stat), Some(4321));
        assert_eq!(started("7 (a"), None);
        assert_eq!(started("7 (a) S 1"), None);
    }

    /// It was: "my app.sock" was taken for "app.sock".
    #[test]
    fn a_listener_is_not_taken_for_one_whose_name_ends_like_its_own_after_a_space() {
        let table = b"0: 00000002 00000000 00010000 0001 01 21 /run/my app.sock
0: 00000002 00000000 00010000 0001 01 22  app.sock
0: 00000002 00000000 00010000 0001 01 23 app.sock\n";
        let inode = |name| bound_inode(table, &Address::new(name).unwrap());
        assert_eq!(inode("/run/my app.sock"), Some(21));
        assert_eq!(inode(" app.sock"), Some(22));
        assert_eq!(inode("app.sock"), Some(23));
    }

    /// It was not.
    #[test]
    fn an_abstract_name_that_is_no_text_is_found() {
        let table = b"0: 00000002 00000000 00010000 0001 01 22 @\xff\n";
        let address = Address::new(OsStr::from_bytes(b"@\xff")).unwrap();
        assert_eq!(bound_inode(table, &address), Some(22));
    }
}
