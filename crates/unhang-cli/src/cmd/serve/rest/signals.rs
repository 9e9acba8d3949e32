//! Signals by which a process may wake itself, or the kernel it: timers that are no system call, and the end of a
//! child.

use std::fs;

/// `SIGALRM`, whose timer (setitimer(2)) is seen nowhere: signal(7).
const ALARM: u64 = 1 << 13;
/// Those that a program gives its timers itself: `SIGRTMIN` as glibc has it, and what follows.
const REAL_TIME: u64 = u64::MAX << 33;

/// Whether a process may be woken by a signal that no other process sends it. Go catches all signals, and has no
/// such timers.
pub(super) fn may_come(pid: u32, is_go: impl FnOnce() -> bool) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let caught = mask(&status, "SigCgt:")?;
    if caught & (ALARM | REAL_TIME) != 0 && !is_go() {
        return Some(true);
    }
    // timer_create(2). A kernel need not have this file; its timers come by the signals above.
    let timers = fs::read_to_string(format!("/proc/{pid}/timers")).unwrap_or_default();
    Some(!timers.is_empty())
}

/// Whether a process has a child, besides these, whose end would wake it (`SIGCHLD`).
pub(super) fn has_children(pid: u32, besides: &[u32]) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let mut children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
        children.any(|child| !besides.contains(&child) && lives(child))
    })
}

/// A process that has ended, and was not awaited, wakes nobody any more.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, columns)| columns.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Whether a signalfd tells of `SIGALRM` or of a signal for timers.
pub(super) fn hears_alarms(pid: u32, fd: u32) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    mask(&info, "sigmask:").is_none_or(|heard| heard & (ALARM | REAL_TIME) != 0)
}

/// A set of signals, in hexadecimal: the lowest bit is signal 1.
fn mask(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_signals_are_read() {
        let status = "Name:\tperl\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000002000\n";
        assert_eq!(mask(status, "SigCgt:"), Some(ALARM));
        assert_eq!(mask(status, "SigBlk:"), None);
        // 32 and 33 are glibc's own: it has them in every program with threads.
        assert_eq!(REAL_TIME & 0b11 << 31, 0);
    }
}
