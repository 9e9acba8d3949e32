//! What /proc tells about a worker: whether it waits for its input, and how much memory it holds.
//! A process may be looked into by its parent's user (ptrace(2), `PTRACE_MODE_READ_FSCREDS`), and
//! with Yama's default by its ancestors.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::libc;
use rustix::io::ioctl_fionread;

/// What a worker does that was started, and was asked nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// A thread of it, or of a program that it has started, waits for something to read.
    Waits,
    /// It is still busy with its start, or has children that may be a part of it.
    Works,
    /// Neither, or we may not look.
    Rests,
}

pub(super) fn at_start(pid: u32) -> Activity {
    let threads = threads(pid);
    if threads.iter().any(|thread| waits_for_input(thread)) {
        return Activity::Waits;
    }
    let mut works = threads.iter().any(|thread| works(thread));
    // A script that starts the worker and waits for it: `sh -c`, `npm start`, `uv run`.
    let mut young = children(&threads);
    for _ in 0..GENERATIONS {
        works |= !young.is_empty();
        let theirs: Vec<_> =
            young.iter().take(FAMILY).flat_map(|pid| self::threads(*pid)).collect();
        if theirs.iter().any(|thread| reads_input(&call(thread))) {
            return Activity::Waits;
        }
        young = children(&theirs);
    }
    if works { Activity::Works } else { Activity::Rests }
}

/// How far we follow a worker's children: a wrapper, what it starts, and one more; and how many of them.
const GENERATIONS: usize = 3;
const FAMILY: usize = 16;

/// The directories of its threads: `proc_pid_task(5)`.
fn threads(pid: u32) -> Vec<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().map(|thread| thread.path()).collect()
}

/// Not known in every kernel (`CONFIG_PROC_CHILDREN`): then there are none.
fn children(threads: &[PathBuf]) -> Vec<u32> {
    let of = |thread: &PathBuf| fs::read_to_string(thread.join("children")).unwrap_or_default();
    let all = threads.iter().map(of);
    all.flat_map(|all| all.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Whether it runs, or waits for a disk (`proc_pid_stat(5)`, third column), for time to pass, for a server or
/// for a child.
fn works(thread: &Path) -> bool {
    const WAITS: [libc::c_long; 5] = [
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_connect,
        libc::SYS_wait4,
        libc::SYS_waitid,
    ];
    if call_of(&call(thread)).is_some_and(|(number, _)| WAITS.contains(&number)) {
        return true;
    }
    let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
    // The name before it may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('R' | 'D'))
}

fn call(thread: &Path) -> String {
    fs::read_to_string(thread.join("syscall")).unwrap_or_default()
}

/// Whether it is through with what a program does at its start.
fn waits_for_input(thread: &Path) -> bool {
    let call = call(thread);
    reads_input(&call)
        // Node and others wait for all of their descriptors at once.
        || call_of(&call).is_some_and(|(number, _)| {
            [libc::SYS_epoll_pwait, libc::SYS_ppoll, libc::SYS_pselect6].contains(&number)
                || is_older_wait(number)
        })
}

/// Whether it waits in read(2) on standard input.
fn reads_input(call: &str) -> bool {
    call_of(call).is_some_and(|(number, fd)| number == libc::SYS_read && fd == 0)
}

/// Whether it has read all of its request, has written nothing, and waits for more: then it will never
/// answer. Certain only of a process with one thread and no children, that waits in read(2).
pub(super) fn is_silent(pid: u32, stdin: impl AsFd, stdout: impl AsFd) -> bool {
    let call = || fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let before = call();
    reads_input(&before)
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
