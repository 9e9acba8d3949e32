//! Since when a thread sleeps: `/proc/PID/task/TID/sched`, which any user may read.
//!
//! The kernel notes when a thread last ran, by a clock that each CPU has of its own. What that
//! clock shows now is what it notes for ourselves, after we have run on that very CPU.
//!
//! On a virtual machine that clock stands still while the host gives the CPU to others
//! (`update_rq_clock_task` in kernel/sched/core.c): an age from it may be too short, never too long.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, sched_yield};

/// What the kernel's scheduler notes of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sched {
    /// When it last ran, in milliseconds of its CPU's clock. None if the kernel has not noted it, as happens to some threads that were moved.
    pub(crate) last_ran: Option<f64>,
    /// How long it has run in all, in milliseconds.
    pub(crate) ran: f64,
    /// How often it went to sleep by itself.
    pub(crate) sleeps: u64,
}

impl Sched {
    /// None if the kernel is built without this file, or it does not look as expected.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
        };
        let millis = |name| value(name)?.parse().ok().filter(|millis: &f64| millis.is_finite());
        Some(Self {
            // Zero is what a thread has that has never been noted: not known.
            last_ran: Some(millis("se.exec_start")?).filter(|at| *at > 0.0),
            ran: millis("se.sum_exec_runtime")?,
            sleeps: value("nr_voluntary_switches")?.parse().ok()?,
        })
    }
}

/// The clocks of the CPUs. While it lives, the thread that made it may be moved between them.
#[derive(Debug)]
pub(crate) struct Clock {
    home: Option<CpuSet>,
    /// What a CPU's clock showed, and when that was.
    read: HashMap<usize, Option<(f64, Instant)>>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { home: sched_getaffinity(None).ok(), read: HashMap::new() }
    }

    /// How long ago something was that a CPU's clock noted. None if that clock cannot be read.
    pub(crate) fn since(&mut self, cpu: usize, noted: f64) -> Option<Duration> {
        let (then, read_at) = (*self.read.entry(cpu).or_insert_with(|| read_on(cpu)))?;
        let ago = (then - noted) / 1_000.0 + read_at.elapsed().as_secs_f64();
        // A little below zero if it ran just now.
        Duration::try_from_secs_f64(ago.max(0.0)).ok()
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            // Fails only if those CPUs are gone, and then any other will do.
            let _ = sched_setaffinity(None, home);
        }
    }
}

fn read_on(cpu: usize) -> Option<(f64, Instant)> {
    if cpu >= CpuSet::MAX_CPU {
        return None;
    }
    let mut only = CpuSet::new();
    only.set(cpu);
    // Refused if a container may not use that CPU: then the age is not known, not wrong.
    sched_setaffinity(None, &only).ok()?;
    // Without it the note may be from the last tick of the timer.
    sched_yield();
    let text = fs::read_to_string("/proc/thread-self/sched").ok()?;
    let now = Instant::now();
    Some((Sched::parse(&text)?.last_ran?, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::why::see::process::thread::Stat;

    const SAMPLE: &str = "cat (31219, #threads: 1)
-------------------------------------------------------------------
se.exec_start                                :       3442857.338575
se.sum_exec_runtime                          :             0.998052
nr_switches                                  :                    1
nr_voluntary_switches                        :                    7
";

    #[test]
    fn the_three_notes_are_read() {
        let expected = Sched { last_ran: Some(3_442_857.338_575), ran: 0.998_052, sleeps: 7 };
        assert_eq!(Sched::parse(SAMPLE), Some(expected));
    }

    /// Some sleepers were said to have slept since the machine was started.
    #[test]
    fn a_thread_that_the_kernel_has_noted_nothing_of_slept_for_a_time_that_is_not_known() {
        let text = SAMPLE.replace("3442857.338575", "0.000000");
        assert_eq!(Sched::parse(&text).unwrap().last_ran, None);
    }

    #[test]
    fn a_cut_or_garbled_file_gives_nothing() {
        let whole = SAMPLE.trim_end();
        for cut in 0..whole.len() - 1 {
            assert_eq!(Sched::parse(&whole[..cut]), None);
        }
        for wrong in ["NaN", "inf", "x", ""] {
            assert_eq!(Sched::parse(&SAMPLE.replace("3442857.338575", wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn a_sleep_is_measured_from_outside() {
        let (asleep, tid) = std::sync::mpsc::channel();
        let (wake, woken) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            asleep.send(rustix::thread::gettid().as_raw_pid()).unwrap();
            let _ = woken.recv();
        });
        let directory = format!("/proc/self/task/{}", tid.recv().unwrap());
        let stat = || Stat::parse(&fs::read(format!("{directory}/stat")).unwrap()).unwrap();
        while stat().state != 'S' {
            std::thread::yield_now();
        }
        // By that CPU's clock, which may stand still for longer than any sleep that we could choose.
        let cpu = stat().cpu;
        let shows = || Clock::new().since(cpu, 0.0).unwrap();
        let (began, first) = (Instant::now(), shows());
        // What the clock showed first may have been from the last tick before.
        let (least, tick) = (Duration::from_millis(250), Duration::from_millis(50));
        while shows() < first + least + tick && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let text = fs::read_to_string(format!("{directory}/sched")).unwrap();
        let sched = Sched::parse(&text).unwrap();
        let since = Clock::new().since(cpu, sched.last_ran.unwrap()).unwrap();
        let most = began.elapsed() + Duration::from_secs(10);
        assert!(since > least && since < most, "{since:?}, expected {least:?} to {most:?}");
        drop(wake);
        sleeper.join().unwrap();
    }
}
