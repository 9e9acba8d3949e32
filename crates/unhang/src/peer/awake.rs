//! Whether a client is kept from running. A client that the scheduler holds up in the middle of its write
//! looks, from the server's side, like one that has written all and waits for its reply.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Processes with more threads are not looked into: each costs two files, and the thread that reads them
/// keeps the deadlines of others. PHP has 1, Node 11.
const THREADS: usize = 16;

/// How much processor time the threads of a process have had that do not sleep: that run or want to, that
/// are stopped, or that wait for a disk. A thread that has written all and reads the reply sleeps.
///
/// None if all of them sleep, and if that cannot be seen: the process has ended, has more than 16 threads,
/// or is hidden (another process-id namespace, `hidepid`), or the kernel keeps no such times. From
/// `/proc/PID/task/TID/stat` and `schedstat`, `proc(5)` and Documentation/scheduler/sched-stats.rst.
pub(crate) fn ran(pid: u32) -> Option<Duration> {
    let mut sum = None;
    for (nth, thread) in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten().enumerate() {
        if nth == THREADS {
            return None;
        }
        let thread = thread.path();
        // A thread that has ended meanwhile is not missed.
        let Some(state) = text(&thread, "stat").as_deref().and_then(state) else { continue };
        if is_awake(state) {
            let had = text(&thread, "schedstat").as_deref().and_then(had)?;
            sum = Some(sum.unwrap_or_default() + had);
        }
    }
    sum
}

fn text(thread: &Path, file: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(thread.join(file)).ok()?).into_owned())
}

/// The third word of `stat`: after the name, which is in brackets and may hold any character.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

fn is_awake(state: char) -> bool {
    matches!(state, 'R' | 'D' | 'T' | 't')
}

/// The first word of `schedstat`, in nanoseconds. A thread that is there has run: 0 is said by a kernel
/// that does not count.
fn had(schedstat: &str) -> Option<Duration> {
    let nanos = schedstat.split_whitespace().next()?.parse().ok()?;
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    struct Process(Child);

    impl Process {
        fn start(script: &str) -> Self {
            Self(Command::new("/bin/sh").args(["-c", script]).spawn().unwrap())
        }

        /// Looks until what it sees is as it should be.
        fn until(&self, is: impl Fn(Option<Duration>) -> bool) -> Option<Duration> {
            loop {
                let ran = ran(self.0.id());
                if is(ran) {
                    return ran;
                }
                std::thread::yield_now();
            }
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_that_computes_has_had_more_each_time() {
        let busy = Process::start("while :; do :; done");
        let first = busy.until(|ran| ran.is_some());
        busy.until(|ran| ran > first);
    }

    #[test]
    fn a_process_that_is_stopped_is_awake_and_gets_no_further() {
        let busy = Process::start("while :; do :; done");
        busy.until(|ran| ran.is_some());
        kill_process(Pid::from_child(&busy.0), Signal::STOP).unwrap();
        let process = format!("/proc/{}", busy.0.id());
        while text(Path::new(&process), "stat").as_deref().and_then(state) != Some('T') {
            std::thread::yield_now();
        }
        let stopped = ran(busy.0.id());
        assert!(stopped.is_some());
        assert_eq!(ran(busy.0.id()), stopped);
    }

    #[test]
    fn a_process_that_sleeps_or_is_gone_is_not_awake() {
        let asleep = Process::start("exec sleep 60");
        asleep.until(|ran| ran.is_none());
        let pid = asleep.0.id();
        drop(asleep);
        assert_eq!(ran(pid), None);
    }

    #[test]
    fn the_state_is_found_behind_a_name_with_anything_in_it() {
        assert_eq!(state("7 (sh) R 1 7"), Some('R'));
        assert_eq!(state("7 (a) S (b)) T 1 7"), Some('T'));
        assert_eq!(state("7 (sh"), None);
    }

    #[test]
    fn a_kernel_that_counts_no_time_says_nothing() {
        assert_eq!(had("1500 3 2\n"), Some(Duration::from_nanos(1500)));
        assert_eq!(had("0 0 0\n"), None);
        assert_eq!(had(""), None);
    }
}
