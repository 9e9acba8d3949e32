//! What `/proc` tells of a process: proc(5).

use std::fs;
use std::path::Path;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) parent: i32,
    state: char,
    /// When it began, in ticks since the machine did: no other with its number has the same.
    pub(super) started: u64,
    /// The processor time of the children that have ended, in whole ticks.
    pub(super) reaped: Duration,
}

impl Stat {
    /// None if there is no such process.
    pub(super) fn of(pid: i32) -> Option<Self> {
        Self::read(Path::new(&format!("/proc/{pid}/stat")))
    }

    pub(super) fn of_all() -> Vec<Self> {
        let Ok(directory) = fs::read_dir("/proc") else { return Vec::new() };
        let names = directory.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| Self::of(name.parse().ok()?)).collect()
    }

    fn read(file: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(file).ok()?, rustix::param::clock_ticks_per_second())
    }

    fn parse(text: &str, ticks_per_second: u64) -> Option<Self> {
        // The name stands in parentheses, and may have some itself.
        let (pid, _) = text.split_once(' ')?;
        let (_, rest) = text.rsplit_once(") ")?;
        let columns: Vec<_> = rest.split_ascii_whitespace().collect();
        let ticks = |column: usize| columns.get(column)?.parse::<u64>().ok();
        // `cutime` and `cstime` are columns 16 and 17 of all, `starttime` is 22; `rest` begins with the third.
        let millis = (ticks(13)? + ticks(14)?) * 1_000 / ticks_per_second;
        Some(Self {
            pid: pid.parse().ok()?,
            state: columns.first()?.chars().next()?,
            parent: columns.get(1)?.parse().ok()?,
            started: ticks(19)?,
            reaped: Duration::from_millis(millis),
        })
    }
}

/// The state of each thread: R runs, S sleeps, T is stopped.
pub(super) fn thread_states(pid: i32) -> Vec<char> {
    let threads = threads(pid);
    threads.iter().filter_map(|thread| Some(Stat::read(&thread.join("stat"))?.state)).collect()
}

/// How often its threads were given up for others, by themselves or not.
pub(super) fn switches(pid: i32) -> u64 {
    let threads = threads(pid);
    let texts = threads.iter().filter_map(|thread| fs::read_to_string(thread.join("status")).ok());
    texts.map(|text| switches_in(&text)).sum()
}

fn switches_in(status: &str) -> u64 {
    let lines = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    lines.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
}

fn threads(pid: i32) -> Vec<std::path::PathBuf> {
    let Ok(directory) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    directory.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_column() {
        let text = "42 (a) R (b) S 7 42 42 0 -1 4194560 1 2 3 4 11 12 150 25 20 0 1 0 99";
        let stat = Stat::parse(text, 100).unwrap();
        let reaped = Duration::from_millis(1_750);
        assert_eq!(stat, Stat { pid: 42, parent: 7, state: 'S', started: 99, reaped });
        assert_eq!(Stat::parse("42 (cut", 100), None);
    }

    #[test]
    fn both_kinds_of_switches_are_counted() {
        let text = "Name:\tx\nvoluntary_ctxt_switches:\t30\nnonvoluntary_ctxt_switches:\t12\n";
        assert_eq!(switches_in(text), 42);
    }
}
