//! What /proc tells about a worker: whether it waits for its input, and how much memory it holds.
//! A process may be looked into by its parent's user (ptrace(2), `PTRACE_MODE_READ_FSCREDS`), and
//! with Yama's default by its ancestors.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use nix::libc;
use rustix::io::ioctl_fionread;

/// Whether a thread of it waits for something to read: it is through with what it does at its start.
pub(super) fn waits_for_input(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().any(|thread| {
        let call = fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
        let Some((number, argument)) = call_of(&call) else { return false };
        // Node and others wait for all of their descriptors at once.
        (number == libc::SYS_read && argument == 0)
            || [libc::SYS_epoll_pwait, libc::SYS_ppoll, libc::SYS_pselect6].contains(&number)
            || is_older_wait(number)
    })
}

/// Whether it has read all of its request, has written nothing, and waits for more: then it will never
/// answer. Certain only of a process with one thread and no children, that waits in read(2).
pub(super) fn is_silent(pid: u32, stdin: impl AsFd, stdout: impl AsFd) -> bool {
    let call = || fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let before = call();
    let reads = call_of(&before).is_some_and(|(number, fd)| number == libc::SYS_read && fd == 0);
    reads
        && is_alone(pid)
        && ioctl_fionread(&stdin).is_ok_and(|unread| unread == 0)
        // Where it stands, with the same stack: it has not moved meanwhile.
        && call() == before
        && ioctl_fionread(&stdout).is_ok_and(|unread| unread == 0)
}

/// What a process holds in memory, in bytes: `proc_pid_statm(5)`, second column.
pub(super) fn resident(statm: &File) -> Option<u64> {
    let mut text = [0; 128];
    let length = statm.read_at(&mut text, 0).ok()?;
    let pages = std::str::from_utf8(&text[..length]).ok()?.split(' ').nth(1)?;
    Some(pages.parse::<u64>().ok()? * rustix::param::page_size() as u64)
}

fn is_alone(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    // Not there in every kernel (CONFIG_PROC_CHILDREN): then nothing is certain.
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    threads == 1 && children.is_ok_and(|children| children.trim().is_empty())
}

/// The number of a system call and its first argument: `proc_pid_syscall(5)`.
fn call_of(text: &str) -> Option<(libc::c_long, u64)> {
    let mut words = text.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let argument = words.next()?.strip_prefix("0x")?;
    Some((number, u64::from_str_radix(argument, 16).ok()?))
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn is_older_wait(number: libc::c_long) -> bool {
    [libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_select].contains(&number)
}

/// Newer machines never had them.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
fn is_older_wait(_: libc::c_long) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_and_one_that_is_none_is_not() {
        assert_eq!(call_of("0 0x0 0x7f 0x1 0x0 0x0 0x0 0x7ffd 0x7f1\n"), Some((0, 0)));
        assert_eq!(call_of("-1 0x7ffd 0x7f1\n"), Some((-1, 0x7ffd)));
        assert_eq!(call_of("running\n"), None);
        assert_eq!(call_of(""), None);
    }

    #[test]
    fn our_own_memory_is_more_than_nothing() {
        let bytes = resident(&File::open("/proc/self/statm").unwrap()).unwrap();
        assert!(bytes > 100_000, "{bytes}");
    }
}
