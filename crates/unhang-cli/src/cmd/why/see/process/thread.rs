//! A process's threads: in which state each is, in which call, and since when.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::call::{self, Call, Memory};
use super::descriptors::Descriptors;
use super::sched::{Clock, Sched};
use crate::cmd::why::helper::Helper;
use crate::cmd::why::helper::question::{Program, Question};
use crate::shell::is_hidden;

#[derive(Clone, Debug, Default)]
pub(crate) struct Thread {
    pub(crate) tid: u32,
    /// The first 15 bytes of the name that the program gave it.
    pub(crate) name: String,
    /// As `ps` shows it: R runs, S sleeps, D sleeps for a device, T is stopped, Z has ended.
    pub(crate) state: char,
    pub(crate) call: Call,
    /// What the call's descriptor leads to, if that is not a socket.
    pub(crate) on: Option<String>,
    /// The Unix address that the call sends a datagram to.
    pub(crate) to: Option<Vec<u8>>,
    /// After how long the call returns by itself.
    pub(crate) timeout: Option<Duration>,
    /// How long ago it last ran.
    pub(crate) since: Option<Duration>,
    /// When that was read.
    pub(crate) read_at: Option<Instant>,
    /// How long it has run, in milliseconds.
    pub(crate) ran: f64,
    /// How often it has gone to sleep by itself.
    pub(crate) sleeps: u64,
}

/// All that can be seen of a process's threads; those that end meanwhile are left out.
pub(crate) fn read_all(
    pid: u32,
    program: Option<Program>,
    descriptors: Option<&Descriptors>,
    clock: &mut Clock,
    helper: &Helper,
) -> Vec<Thread> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let process = Calls {
        directory: PathBuf::from(format!("/proc/{pid}")),
        memory: ProcessMemory { pid, helper },
        is_native: program.is_some_and(|program| program.is_native),
        foreign: RefCell::default(),
    };
    let mut threads = Vec::new();
    for task in tasks.filter_map(Result::ok) {
        // A process may have thousands, to keep us.
        if helper.deadline().is_over() {
            helper.pass_over(pid);
            // The others may be at anything.
            threads.push(Thread::default());
            break;
        }
        threads.extend(read(&task.path(), &process, descriptors, clock));
    }
    threads
}

/// What it takes to tell the calls of one process's threads.
struct Calls<'a> {
    directory: PathBuf,
    memory: ProcessMemory<'a>,
    /// The numbers of calls are those of a 64-bit program: others have a table of their own.
    is_native: bool,
    /// Of the places that calls return to, whether those are a 32-bit program's: thousands of threads share a few.
    foreign: RefCell<HashMap<u64, bool>>,
}

/// A process's memory, which the helper reads: what a call's arguments lead to is the process's to
/// choose, and may lie on a file system that never answers.
struct ProcessMemory<'a> {
    pid: u32,
    helper: &'a Helper,
}

impl Memory for ProcessMemory<'_> {
    fn read(&self, at: u64, length: usize) -> Option<Vec<u8>> {
        if length == 0 {
            return Some(Vec::new());
        }
        let answer: Option<Option<Vec<u8>>> =
            self.helper.ask(self.pid, &Question::Memory { pid: self.pid, at, length });
        answer.flatten()
    }
}

impl Calls<'_> {
    /// The number of the call is of another table than this program's.
    fn is_foreign(&self, line: &str) -> bool {
        let Some(at) = call::returns_to(line) else { return false };
        let look = || call::is_of_32_bits(at, &self.memory);
        *self.foreign.borrow_mut().entry(at).or_insert_with(look)
    }

    fn of_thread(&self, task: &Path) -> InCall {
        let line = match fs::read_to_string(task.join("syscall")) {
            Ok(line) if self.is_native && !self.is_foreign(&line) => line,
            _ => return InCall::default(),
        };
        let sleeps_in = || fs::read_to_string(task.join("wchan")).unwrap_or_default();
        let call = call::parse(&line, sleeps_in, &self.memory);
        let in_call = InCall {
            timeout: call::timeout(&line, &self.memory),
            to: match call {
                Call::Write(_) => call::destination(&line, &self.memory),
                _ => None,
            },
            call,
        };
        match self.memory.helper.has_passed_over(self.memory.pid) {
            true => InCall::default(),
            false => in_call,
        }
    }
}

/// The system call that a thread is in; the default is that this may not be seen.
#[derive(Default)]
struct InCall {
    call: Call,
    /// After how long the call returns by itself.
    timeout: Option<Duration>,
    /// Where it sends a datagram to.
    to: Option<Vec<u8>>,
}

fn read(
    task: &Path,
    process: &Calls<'_>,
    descriptors: Option<&Descriptors>,
    clock: &mut Clock,
) -> Option<Thread> {
    let tid = task.file_name()?.to_str()?.parse().ok()?;
    let stat = Stat::parse(&fs::read(task.join("stat")).ok()?)?;
    let InCall { call, timeout, to } = process.of_thread(task);
    let sched = fs::read_to_string(task.join("sched")).ok();
    let sched = sched.and_then(|text| Sched::parse(&text));
    let age = age(stat.started);
    let slept = sched.and_then(|sched| clock.since(stat.cpu, sched.last_ran?));
    Some(Thread {
        tid,
        state: stat.state,
        on: target(&call, &process.directory, descriptors),
        name: stat.name,
        call,
        to,
        timeout,
        since: slept.map(|slept| age.map_or(slept, |age| slept.min(age))),
        read_at: Some(Instant::now()),
        ran: sched.map_or(stat.ran, |sched| sched.ran),
        sleeps: match sched {
            Some(sched) => sched.sleeps,
            None => sleeps(&fs::read_to_string(task.join("status")).unwrap_or_default()),
        },
    })
}

/// How long ago a thread began, which no sleep of it is longer than; or a process.
pub(super) fn age(started: Duration) -> Option<Duration> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
    now.checked_sub(started)
}

/// The file, pipe or device that a call is about.
fn target(call: &Call, process: &Path, descriptors: Option<&Descriptors>) -> Option<String> {
    let (Call::Read(fd) | Call::Write(fd) | Call::FileLock(fd)) = call else {
        return None;
    };
    if descriptors?.inode(*fd).is_some() {
        return None;
    }
    let link = fs::read_link(process.join(format!("fd/{fd}"))).ok()?;
    // Anybody may have named that file, and is not to write to our terminal with it.
    Some(link.to_string_lossy().escape_debug().to_string())
}

/// The line `voluntary_ctxt_switches:`.
fn sleeps(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// The few columns of `/proc/PID/stat` that are of use.
#[derive(Debug, PartialEq)]
pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) flags: u64,
    /// Milliseconds on a CPU, to the tick.
    ran: f64,
    /// When it began, since the machine was started.
    pub(super) started: Duration,
    /// The CPU it last ran on.
    pub(crate) cpu: usize,
}

impl Stat {
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        /// `USER_HZ` is 100 wherever Linux is.
        const MILLIS_A_TICK: u64 = 10;
        // The name may itself hold spaces and brackets: it ends at the last one.
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let name = String::from_utf8_lossy(line.get(open + 1..close)?);
        // A program names itself, and is not to write to our terminal with that.
        let name = name.chars().map(|one| if is_hidden(one) { '?' } else { one }).collect();
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        let columns: Vec<_> = rest.split_ascii_whitespace().collect();
        // The manual counts from 1 and the state is its third.
        let number = |nth: usize| columns.get(nth - 3)?.parse::<u64>().ok();
        #[allow(clippy::cast_precision_loss)]
        let ran = number(14)?.saturating_add(number(15)?).saturating_mul(MILLIS_A_TICK) as f64;
        Some(Self {
            name,
            state: columns.first()?.chars().next()?,
            parent: u32::try_from(number(4)?).ok()?,
            flags: number(9)?,
            ran,
            started: Duration::from_millis(number(22)?.saturating_mul(MILLIS_A_TICK)),
            cpu: usize::try_from(number(39)?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &[u8] = b"7 (a ) (b) S 1 7 7 0 -1 4194304 96 0 0 0 12 30 0 0 20 0 1 0 344285 \
        2760704 387 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 5 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn a_name_with_brackets_does_not_shift_the_columns() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!((&*stat.name, stat.state, stat.cpu), ("a ) (b", 'S', 5));
        assert_eq!(stat.parent, 1);
        assert!((stat.ran - 420.0).abs() < 0.1 && stat.flags == 4_194_304);
    }

    /// It turned the rest of the line around.
    #[test]
    fn a_name_cannot_act_on_the_terminal() {
        let line =
            String::from_utf8(STAT.to_vec()).unwrap().replace("(a ) (b)", "(a\u{202e}\u{9b}b)");
        assert_eq!(Stat::parse(line.as_bytes()).unwrap().name, "a??b");
    }

    #[test]
    fn a_cut_or_garbled_line_gives_nothing_and_does_not_panic() {
        let until_the_cpu = STAT.windows(5).position(|five| five == b" 17 5").unwrap() + 4;
        for cut in 0..until_the_cpu {
            assert_eq!(Stat::parse(&STAT[..cut]), None, "{cut}");
        }
        for at in 0..STAT.len() {
            let mut line = STAT.to_vec();
            line[at] = b')';
            Stat::parse(&line);
        }
    }

    #[test]
    fn the_count_of_sleeps_is_found_in_the_status_file() {
        assert_eq!(sleeps("Name:\tx\nvoluntary_ctxt_switches:\t150\n"), 150);
        assert_eq!(sleeps("voluntary_ctxt_switches:\tx"), 0);
    }
}
