//! Signals by which a process may wake itself, or the kernel it: timers that are no system call, and the end of a
//! child.

use std::fs;

use super::proc;
use crate::cmd::why::see::process::thread::Stat;

/// `SIGALRM`, whose timer (setitimer(2)) is seen nowhere: signal(7).
const ALARM: u64 = 1 << 13;
/// Those that a program gives its timers itself: `SIGRTMIN` as glibc has it, and what follows.
const REAL_TIME: u64 = u64::MAX << 33;

/// Whether a process may be woken by a signal that no other process sends it. Go catches all signals, and has no
/// such timers.
pub(super) fn may_come(pid: u32, is_go: impl FnOnce() -> bool) -> Option<bool> {
    let caught = mask(&proc::of_process(pid, "SigCgt:")?)?;
    if caught & (ALARM | REAL_TIME) != 0 && !is_go() {
        return Some(true);
    }
    // timer_create(2). A kernel need not have this file; its timers come by the signals above.
    let timers = fs::read_to_string(format!("/proc/{pid}/timers")).unwrap_or_default();
    Some(!timers.is_empty())
}

/// Whether a process has a child, besides these, whose end would wake it (`SIGCHLD`).
pub(super) fn has_children(pid: u32, besides: &[u32]) -> bool {
    proc::children(pid).into_iter().any(|child| !besides.contains(&child) && lives(child))
}

/// A process that has ended, and was not awaited, wakes nobody any more.
fn lives(pid: u32) -> bool {
    let stat = Stat::parse(&fs::read(format!("/proc/{pid}/stat")).unwrap_or_default());
    stat.is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// Whether a signalfd tells of `SIGALRM` or of a signal for timers.
pub(super) fn hears_alarms(pid: u32, fd: u32) -> bool {
    let heard = proc::of_descriptor(pid, fd, "sigmask:").and_then(|heard| mask(&heard));
    heard.is_none_or(|heard| heard & (ALARM | REAL_TIME) != 0)
}

/// A set of signals, in hexadecimal: the lowest bit is signal 1.
fn mask(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_signals_are_read() {
        assert_eq!(mask("0000000000002000"), Some(ALARM));
        assert_eq!(mask(""), None);
        // Of every process, this one included.
        let own = |name| proc::of_process(std::process::id(), name).and_then(|set| mask(&set));
        assert!(own("SigCgt:").is_some());
        assert_eq!(own("SigNone:"), None);
        // 32 and 33 are glibc's own: it has them in every program with threads.
        assert_eq!(REAL_TIME & 0b11 << 31, 0);
    }
}
