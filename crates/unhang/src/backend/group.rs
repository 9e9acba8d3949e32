//! Which processes belong to a group, or have a pipe open: read from /proc.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tokio::sync::oneshot;

use super::notice::Holder;

/// The processes of a group that still run, apart from its leader.
pub(super) fn members(group: u32) -> Vec<Holder> {
    let of_group = |pid: &u32| {
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        runs_in(&stat) == Some(group)
    };
    processes().filter(|pid| *pid != group).filter(of_group).map(named).collect()
}

/// The processes that have a pipe open for writing, apart from ourselves: `proc_pid_fd(5)`,
/// `proc_pid_fdinfo(5)`.
pub(super) fn writers(pipe: u64) -> Vec<Holder> {
    let name = format!("pipe:[{pipe}]");
    let own = std::process::id();
    let writes = |pid: &u32| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.flatten().any(|one| {
            let is_it = |link: &Path| link.as_os_str().as_bytes() == name.as_bytes();
            fs::read_link(one.path()).is_ok_and(|link| is_it(&link))
                && is_for_writing(*pid, &one.file_name().to_string_lossy())
        })
    };
    processes().filter(|pid| *pid != own).filter(writes).map(named).collect()
}

/// Does this on a thread of its own, as it may take long with thousands of processes, and the
/// caller's thread may be the one that keeps deadlines. None if there is no thread for it.
pub(super) async fn look<T: Send + 'static>(
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (seen, wanted) = oneshot::channel();
    let thread = std::thread::Builder::new().name("look".into());
    thread.spawn(move || drop(seen.send(look()))).ok()?;
    wanted.await.ok()
}

fn is_for_writing(pid: u32, descriptor: &str) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    // The two lowest bits are O_RDONLY (0), O_WRONLY or O_RDWR. One that cannot be read may well.
    flags.is_none_or(|flags| flags & 0b11 != 0)
}

/// The process group in a line of /proc/PID/stat, unless the process has ended.
fn runs_in(stat: &[u8]) -> Option<u32> {
    // The name is in brackets and may hold anything: proc_pid_stat(5).
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 2;
    let mut columns = stat.get(after_name..)?.split(|&byte| byte == b' ');
    let has_ended = matches!(columns.next()?, b"Z" | b"X");
    let group = std::str::from_utf8(columns.nth(1)?).ok()?.parse().ok()?;
    (!has_ended).then_some(group)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn named(pid: u32) -> Holder {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim_end();
    Holder { name: if name.is_empty() { "?".to_owned() } else { name.to_owned() }, pid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_read_behind_any_name() {
        assert_eq!(runs_in(b"7 (a ) (b) S 1 4711 4711 0"), Some(4711));
        assert_eq!(runs_in(b"7 (sh) Z 1 4711 4711 0"), None);
        assert_eq!(runs_in(b"7 (sh"), None);
        assert_eq!(runs_in(b""), None);
    }
}
