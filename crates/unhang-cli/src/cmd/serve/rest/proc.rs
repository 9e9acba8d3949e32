//! What /proc has of a process in a line.

use std::fs;

/// What stands behind a name in the description of a descriptor: `proc_pid_fdinfo(5)`.
pub(super) fn of_descriptor(pid: u32, fd: u32, name: &str) -> Option<String> {
    line(&format!("/proc/{pid}/fdinfo/{fd}"), name)
}

/// The same in the description of a process: `proc_pid_status(5)`.
pub(super) fn of_process(pid: u32, name: &str) -> Option<String> {
    line(&format!("/proc/{pid}/status"), name)
}

fn line(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().to_owned())
}

/// The children of all threads of a process; none, if it has ended.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
    let lists: Vec<_> = lists.map(Result::unwrap_or_default).collect();
    let numbers = lists.iter().flat_map(|list| list.split_ascii_whitespace());
    numbers.filter_map(|pid| pid.parse().ok()).collect()
}
