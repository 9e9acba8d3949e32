//! Whether a client is kept from running. A client that the scheduler holds up in the middle of its write
//! looks, from the server's side, like one that has written all and waits for its reply.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The threads of a process that do not sleep, each with the processor time that it has had: they run or
/// want to, are stopped, or wait for a disk. A thread that has written all and reads the reply sleeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Awake(Vec<(u32, Duration)>);

/// So much processor time is enough to hand the kernel hundreds of pieces: a thread that had it and wrote
/// nothing has something else to do.
const MOVED: Duration = Duration::from_millis(4);

impl Awake {
    /// Looks at a process. None if all its threads sleep, and if that cannot be seen: it has ended, has too
    /// many threads, or is hidden (another process-id namespace, `hidepid`), or the kernel keeps no times. Nor
    /// of our own process: the thread that looks is awake itself.
    /// From `/proc/PID/task/TID/stat` and `schedstat`, `proc(5)` and Documentation/scheduler/sched-stats.rst.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        if pid == std::process::id() {
            return None;
        }
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let threads: Vec<_> = threads.map(|thread| thread.path()).take(THREADS + 1).collect();
        let mut allowance = ALLOWANCE.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() > THREADS || !allowance.takes(threads.len(), Instant::now()) {
            return None;
        }
        drop(allowance);
        let is_alone = threads.len() == 1;
        let awake = threads.iter().filter_map(|thread| {
            // A thread that has ended meanwhile is not missed.
            let state = text(thread, "stat").as_deref().and_then(state)?;
            is_awake(state, is_alone).then_some(())?;
            let id = thread.file_name()?.to_str()?.parse().ok()?;
            Some((id, text(thread, "schedstat").as_deref().and_then(had)?))
        });
        let awake: Vec<_> = awake.collect();
        (!awake.is_empty()).then_some(Self(awake))
    }

    /// Whether a thread was awake at both looks, and has had no processor time between them.
    pub(crate) fn is_held_up_since(&self, before: &Self) -> bool {
        self.0.iter().any(|(thread, had)| {
            let before = before.0.iter().find(|(other, _)| other == thread);
            before.is_some_and(|(_, before)| had.saturating_sub(*before) < MOVED)
        })
    }
}

/// Processes with more threads are not looked into: the thread that reads their files keeps the deadlines of
/// others. PHP has 1, Node 11, a server in Java a hundred.
const THREADS: usize = 256;

/// So many threads of clients are looked at in a second, in the whole process: each costs two files, and all
/// of them some twentieth of a thread. Without a bound, a client with many connections and many threads
/// that it has stopped would hold up the deadlines of all others.
const LOOKS: usize = 2_000;

static ALLOWANCE: Mutex<Allowance> = Mutex::new(Allowance { left: LOOKS, since: None });

/// How many more threads may be looked at.
struct Allowance {
    left: usize,
    /// When it was last filled up.
    since: Option<Instant>,
}

impl Allowance {
    fn takes(&mut self, looks: usize, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= Duration::from_secs(1) {
            (self.left, self.since) = (LOOKS, Some(now));
        }
        let left = self.left.checked_sub(looks);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

fn text(thread: &Path, file: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(thread.join(file)).ok()?).into_owned())
}

/// The third word of `stat`: after the name, which is in brackets and may hold any character.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Among many threads there may always be one that waits for a disk: only that of a client with no other is
/// in the middle of its request.
fn is_awake(state: char, is_alone: bool) -> bool {
    matches!(state, 'R' | 'T' | 't') || (is_alone && state == 'D')
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
        fn until(&self, is: impl Fn(Option<&Awake>) -> bool) -> Option<Awake> {
            loop {
                let awake = Awake::of(self.0.id());
                if is(awake.as_ref()) {
                    return awake;
                }
                std::thread::sleep(Duration::from_millis(2));
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
    fn a_process_that_computes_is_awake_and_not_held_up() {
        let busy = Process::start("while :; do :; done");
        let first = busy.until(|awake| awake.is_some()).unwrap();
        busy.until(|awake| awake.is_some_and(|awake| !awake.is_held_up_since(&first)));
    }

    #[test]
    fn a_process_that_is_stopped_is_held_up() {
        let busy = Process::start("while :; do :; done");
        busy.until(|awake| awake.is_some());
        kill_process(Pid::from_child(&busy.0), Signal::STOP).unwrap();
        let process = format!("/proc/{}", busy.0.id());
        while text(Path::new(&process), "stat").as_deref().and_then(state) != Some('T') {
            std::thread::yield_now();
        }
        let stopped = Awake::of(busy.0.id()).unwrap();
        assert!(Awake::of(busy.0.id()).unwrap().is_held_up_since(&stopped));
    }

    #[test]
    fn a_process_that_sleeps_or_is_gone_is_not_awake() {
        let asleep = Process::start("exec sleep 60");
        asleep.until(|awake| awake.is_none());
        let pid = asleep.0.id();
        drop(asleep);
        assert_eq!(Awake::of(pid), None);
    }

    #[test]
    fn the_process_that_looks_is_not_looked_at() {
        assert_eq!(Awake::of(std::process::id()), None);
    }

    #[test]
    fn one_thread_that_gets_no_processor_is_enough_among_others_that_do() {
        let millis = Duration::from_millis;
        let before = Awake(vec![(1, millis(10)), (2, millis(10))]);
        assert!(Awake(vec![(1, millis(90)), (2, millis(11))]).is_held_up_since(&before));
        assert!(!Awake(vec![(1, millis(90)), (2, millis(20))]).is_held_up_since(&before));
        // It slept at the look before.
        assert!(!Awake(vec![(3, millis(1))]).is_held_up_since(&before));
    }

    #[test]
    fn so_many_threads_are_looked_at_in_a_second_and_no_more() {
        let mut allowance = Allowance { left: LOOKS, since: None };
        let now = Instant::now();
        assert!(allowance.takes(LOOKS - 1, now));
        assert!(!allowance.takes(2, now));
        assert!(allowance.takes(1, now));
        assert!(!allowance.takes(1, now + Duration::from_millis(999)));
        assert!(allowance.takes(LOOKS, now + Duration::from_secs(1)));
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
