//! For how long a system call waits, as its arguments say.

use std::time::Duration;

use nix::libc;
use rustix::time::{ClockId, clock_gettime};

use crate::cmd::why::see::process::call::Memory;

/// The number and the arguments of a system call, as /proc/PID/task/TID/syscall has them.
pub(super) struct Arguments {
    number: libc::c_long,
    values: Vec<u64>,
}

impl Arguments {
    pub(super) fn of(line: &str) -> Self {
        let mut words = line.split_ascii_whitespace();
        let number = words.next().and_then(|number| number.parse().ok()).unwrap_or(-1);
        let value = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        Self { number, values: words.filter_map(value).collect() }
    }

    /// An `int` of -1, of which the register may hold anything above its 32 bits.
    fn is_endless(&self, nth: usize) -> bool {
        self.values.get(nth).is_some_and(|value| value & u64::from(u32::MAX) == u64::from(u32::MAX))
    }

    fn is_null(&self, nth: usize) -> bool {
        self.values.get(nth) == Some(&0)
    }

    /// `epoll_wait` and `epoll_pwait` have milliseconds, `epoll_pwait2` a pointer.
    pub(super) fn waits_for_ever(&self) -> bool {
        match self.number {
            libc::SYS_epoll_pwait2 => self.is_null(3),
            _ => self.is_endless(3),
        }
    }

    /// `poll` has milliseconds, `ppoll` and the two selects a pointer.
    pub(super) fn polls_for_ever(&self) -> bool {
        match self.number {
            #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
            libc::SYS_poll => self.is_endless(2),
            libc::SYS_ppoll => self.is_null(2),
            _ => self.is_null(4),
        }
    }

    pub(super) fn locks_for_ever(&self) -> bool {
        self.is_null(3)
    }

    /// Whether only this process can end the wait of a `futex`: by `FUTEX_PRIVATE_FLAG`, or as it waits for the end
    /// of one of these threads (`pthread_join`), whose number is what is waited for to change.
    pub(super) fn is_of_process(&self, threads: &[u32]) -> bool {
        const PRIVATE: u64 = 128;
        let value = |nth| self.values.get(nth).copied();
        let is_private = value(1).is_some_and(|operation| operation & PRIVATE != 0);
        let thread = value(2).and_then(|value| u32::try_from(value & u64::from(u32::MAX)).ok());
        self.number == libc::SYS_futex
            && (is_private || thread.is_some_and(|thread| threads.contains(&thread)))
    }

    /// Whether the wait of a `futex` or a `clock_nanosleep` until a point in time goes on for so long. One
    /// that says a duration may have begun any time ago.
    pub(super) fn lasts(&self, left: Duration, memory: &impl Memory) -> bool {
        let until = self.until(memory);
        until.is_some_and(|(clock, until)| until >= now(clock).saturating_add(left))
    }

    fn until(&self, memory: &impl Memory) -> Option<(ClockId, Duration)> {
        let (clock, address) = match self.number {
            libc::SYS_futex => {
                // `FUTEX_WAIT_BITSET`, `FUTEX_CMD_MASK` and `FUTEX_CLOCK_REALTIME` in linux/futex.h: only
                // this kind of wait has a point in time.
                let operation = *self.values.get(1)?;
                if operation & 0x7f != 9 {
                    return None;
                }
                let is_real = operation & 256 != 0;
                let clock = if is_real { ClockId::Realtime } else { ClockId::Monotonic };
                (clock, *self.values.get(3)?)
            }
            libc::SYS_clock_nanosleep => {
                // `TIMER_ABSTIME` is 1.
                if self.values.get(1)? & 1 == 0 {
                    return None;
                }
                let clock = match self.values.first()? {
                    0 => ClockId::Realtime,
                    1 => ClockId::Monotonic,
                    _ => return None,
                };
                (clock, *self.values.get(2)?)
            }
            _ => return None,
        };
        let bytes = memory.read(address, 16)?;
        let seconds = u64::from_ne_bytes(*bytes.first_chunk()?);
        let nanos = u64::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
        Some((clock, Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos))?))
    }
}

fn now(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    let seconds = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or_default());
    seconds + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time that stands wherever it is asked for.
    struct At(Duration);

    impl Memory for At {
        fn read(&self, _: u64, length: usize) -> Option<Vec<u8>> {
            let nanos = u64::from(self.0.subsec_nanos());
            let bytes = [self.0.as_secs().to_ne_bytes(), nanos.to_ne_bytes()].concat();
            (length == bytes.len()).then_some(bytes)
        }
    }

    #[test]
    fn timeouts_are_read_from_the_arguments() {
        let wait = |timeout: &str| {
            let line =
                format!("{} 0x5 0x7f 0x80 {timeout} 0x0 0x8 0x7f 0x46", libc::SYS_epoll_pwait);
            Arguments::of(&line).waits_for_ever()
        };
        assert!(wait("0xffffffff") && wait("0xffffffffffffffff"));
        assert!(!wait("0x0") && !wait("0x50"));
        assert!(Arguments::of("202 0x1f 0x189 0x0 0x0 0x0 0x0 0x7 0x7").locks_for_ever());
        assert!(!Arguments::of("202 0x1f 0x80 0x0 0x7f3c 0x0 0x0 0x7 0x7").locks_for_ever());
        for (line, ours) in [
            ("202 0x1f 0x189 0x0 0x0 0x0 0xffffffff 0x7 0x7", true),
            // sem_wait() of one that processes share, and pthread_join().
            ("202 0x1f 0x109 0x0 0x0 0x0 0xffffffff 0x7 0x7", false),
            ("202 0x1f 0x109 0x4d2 0x0 0x0 0xffffffff 0x7 0x7", true),
            ("202 0x1f 0x109 0x4d3 0x0 0x0 0xffffffff 0x7 0x7", false),
        ] {
            let line = line.replace("202", &libc::SYS_futex.to_string());
            assert_eq!(Arguments::of(&line).is_of_process(&[1234]), ours, "{line}");
        }
        for nothing in ["running", "", "-1 0x7 0x8"] {
            assert!(!Arguments::of(nothing).waits_for_ever(), "{nothing}");
        }
    }

    #[test]
    fn only_a_point_in_time_says_how_long_a_wait_lasts() {
        let (left, later) = (Duration::from_secs(10), Duration::from_secs(60));
        for (clock, line) in [
            (
                ClockId::Monotonic,
                format!("{} 0x1 0x1 0x7f 0x0 0x0 0x0 0x7 0x7", libc::SYS_clock_nanosleep),
            ),
            (
                ClockId::Realtime,
                format!("{} 0x0 0x1 0x7f 0x0 0x0 0x0 0x7 0x7", libc::SYS_clock_nanosleep),
            ),
            (ClockId::Monotonic, format!("{} 0x7f 0x89 0x0 0x7f 0x0 0x0 0x7 0x7", libc::SYS_futex)),
            (ClockId::Realtime, format!("{} 0x7f 0x189 0x0 0x7f 0x0 0x0 0x7 0x7", libc::SYS_futex)),
        ] {
            let arguments = Arguments::of(&line);
            assert!(arguments.lasts(left, &At(now(clock) + later)), "{line}");
            assert!(!arguments.lasts(left, &At(now(clock) + left / 2)), "{line}");
            assert!(!arguments.lasts(left, &At(Duration::ZERO)), "{line}");
        }
        for line in [
            format!("{} 0x1 0x0 0x7f 0x0 0x0 0x0 0x7 0x7", libc::SYS_clock_nanosleep),
            format!("{} 0x7f 0x80 0x0 0x7f 0x0 0x0 0x7 0x7", libc::SYS_futex),
            "35 0x7f 0x0 0x0 0x0 0x0 0x0 0x7 0x7".to_owned(),
        ] {
            let ends = At(now(ClockId::Monotonic) + later);
            assert!(!Arguments::of(&line).lasts(left, &ends), "{line}");
        }
    }
}
