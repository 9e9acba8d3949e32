//! In which system call a thread is: `/proc/PID/task/TID/syscall`, and what its arguments point to.

use std::time::Duration;

use syscalls::Sysno;

/// Where a thread is, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Call {
    /// This user may not see it.
    #[default]
    Hidden,
    /// In none: it runs, or waits for a CPU.
    None,
    Read(u32),
    Write(u32),
    Accept(u32),
    /// And the address it gave: a path, or NUL and an abstract name.
    Connect(u32, Option<Vec<u8>>),
    /// `poll` and `select`: what it watches; None if its memory could not be read.
    Poll(Option<Vec<Watch>>),
    /// `epoll_wait` on this instance.
    Epoll(u32),
    /// A lock, or a condition that another thread is to bring about. Not which of the two.
    Futex,
    Sleep,
    /// A lock on a file.
    FileLock(u32),
    /// The end of a child process.
    Child,
    /// `io_uring`: what it waits for is not visible.
    Ring,
    Other(&'static str),
}

/// One descriptor that a `poll` or `select` watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) fd: u32,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
}

/// A process's memory, or whatever stands for it in a test.
pub(crate) trait Memory {
    /// None if it cannot be read in full.
    fn read(&self, address: u64, length: usize) -> Option<Vec<u8>>;
}

/// Reads the line `NUMBER 0xARGUMENT… 0xSP 0xPC`, `-1 0xSP 0xPC` or `running`. `sleeps_in` names the
/// kernel function that it sleeps in, if the line alone does not tell.
pub(crate) fn parse(line: &str, sleeps_in: impl Fn() -> String, memory: &impl Memory) -> Call {
    let Some((number, arguments)) = numbers(line) else { return Call::None };
    let Some(call) = Sysno::new(number) else { return Call::Other("a system call") };
    decode(call.name(), &arguments, sleeps_in, memory)
}

/// After how long the call returns by itself, at the latest. None: never, or it is not known.
pub(crate) fn timeout(line: &str, memory: &impl Memory) -> Option<Duration> {
    let (number, arguments) = numbers(line)?;
    let millis = |argument: u64| {
        // An `int`; below zero it waits for ever.
        let millis = i32::from_ne_bytes(descriptor(argument).to_ne_bytes());
        Some(Duration::from_millis(u64::try_from(millis).ok()?))
    };
    let timespec = |address: u64| {
        let bytes = memory.read(address, 16).filter(|_| address != 0)?;
        let seconds = u64::from_ne_bytes(*bytes.first_chunk()?);
        let nanos = u64::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
        Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos))
    };
    match Sysno::new(number)?.name() {
        "poll" => millis(arguments[2]),
        "epoll_wait" | "epoll_pwait" => millis(arguments[3]),
        "ppoll" => timespec(arguments[2]),
        "epoll_pwait2" => timespec(arguments[3]),
        "pselect6" => timespec(arguments[4]),
        _ => None,
    }
}

/// Where the thread goes on after its call: the last number of the line.
pub(crate) fn returns_to(line: &str) -> Option<u64> {
    numbers(line)?;
    u64::from_str_radix(line.split_ascii_whitespace().last()?.strip_prefix("0x")?, 16).ok()
}

/// A 64-bit program on x86 may also call as a 32-bit one does, by `int 0x80`, and then its numbers are of another
/// table. The instruction before the one that it returns to tells.
pub(crate) fn is_of_32_bits(returns_to: u64, memory: &impl Memory) -> bool {
    const INT_0X80: [u8; 2] = [0xcd, 0x80];
    cfg!(target_arch = "x86_64")
        && returns_to
            .checked_sub(2)
            .and_then(|at| memory.read(at, 2))
            .is_some_and(|one| one == INT_0X80)
}

/// The Unix address that a datagram is sent to, if the call names one.
pub(crate) fn destination(line: &str, memory: &impl Memory) -> Option<Vec<u8>> {
    let (number, arguments) = numbers(line)?;
    let (at, length) = match Sysno::new(number)?.name() {
        "sendto" => (arguments[4], arguments[5]),
        "sendmsg" => {
            // `msg_name` and `msg_namelen`, the first two of a `msghdr`.
            let header = memory.read(arguments[1], 12)?;
            let length = u32::from_ne_bytes(*header.get(8..)?.first_chunk()?);
            (u64::from_ne_bytes(*header.first_chunk()?), u64::from(length))
        }
        _ => return None,
    };
    if at == 0 { None } else { address(at, length, memory) }
}

/// The call's number and its arguments. None: it is in no call.
fn numbers(line: &str) -> Option<(usize, [u64; 6])> {
    let mut words = line.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let mut arguments = [0; 6];
    for (argument, word) in arguments.iter_mut().zip(words) {
        let digits = word.strip_prefix("0x").unwrap_or(word);
        *argument = u64::from_str_radix(digits, 16).unwrap_or(0);
    }
    Some((number, arguments))
}

fn decode(
    name: &'static str,
    arguments: &[u64; 6],
    sleeps_in: impl Fn() -> String,
    memory: &impl Memory,
) -> Call {
    let fd = descriptor(arguments[0]);
    match name {
        "read" | "readv" | "recvfrom" | "recvmsg" | "recvmmsg" | "splice" => Call::Read(fd),
        "write" | "writev" | "sendto" | "sendmsg" | "sendmmsg" | "sendfile" => Call::Write(fd),
        "accept" | "accept4" => Call::Accept(fd),
        "connect" => Call::Connect(fd, address(arguments[1], arguments[2], memory)),
        "poll" | "ppoll" => polls(poll(arguments, memory)),
        "select" | "pselect6" => match arguments[3] {
            0 => polls(select(arguments, memory)),
            // What it watches for exceptions is not read.
            _ => Call::Poll(select(arguments, memory)),
        },
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => Call::Epoll(fd),
        "futex" | "futex_wait" | "futex_waitv" => Call::Futex,
        "nanosleep" | "clock_nanosleep" => Call::Sleep,
        "flock" | "fcntl" => Call::FileLock(fd),
        "wait4" | "waitid" => Call::Child,
        "io_uring_enter" => Call::Ring,
        // After a stop and a continue the kernel goes on with one of these under this name.
        "restart_syscall" => match sleeps_in() {
            function if function.contains("nanosleep") => Call::Sleep,
            function if function.contains("futex") => Call::Futex,
            function if function.contains("poll") => polls(poll(arguments, memory)),
            _ => Call::Other(name),
        },
        _ => Call::Other(name),
    }
}

/// An `int`, of which the register may hold anything above its 32 bits.
fn descriptor(argument: u64) -> u32 {
    u32::try_from(argument & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// The Unix address that lies there.
fn address(at: u64, length: u64, memory: &impl Memory) -> Option<Vec<u8>> {
    const AF_UNIX: [u8; 2] = 1_u16.to_ne_bytes();
    const LONGEST: usize = 110;
    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST)?;
    let bytes = memory.read(at, length)?;
    let name = bytes.strip_prefix(&AF_UNIX)?;
    let end = match name.first()? {
        0 => name.len(),
        _ => name.iter().position(|byte| *byte == 0).unwrap_or(name.len()),
    };
    Some(name[..end].to_vec())
}

/// More than any program polls; a garbled count is not to fill our memory.
const MOST: u64 = 65_536;

/// To poll nothing is to sleep, as Perl does for less than a second.
fn polls(watched: Option<Vec<Watch>>) -> Call {
    match watched {
        Some(watched) if watched.is_empty() => Call::Sleep,
        watched => Call::Poll(watched),
    }
}

fn poll(arguments: &[u64; 6], memory: &impl Memory) -> Option<Vec<Watch>> {
    const IN: u16 = 0x1;
    const OUT: u16 = 0x4;
    let count = usize::try_from(arguments[1]).ok().filter(|count| *count as u64 <= MOST)?;
    let table = memory.read(arguments[0], count * 8)?;
    let watch = |row: &[u8]| {
        let fd = i32::from_ne_bytes(*row.first_chunk()?);
        let events = u16::from_ne_bytes(*row.get(4..)?.first_chunk()?);
        // A negative one is passed over by the kernel, too.
        let fd = u32::try_from(fd).ok()?;
        Some(Watch { fd, reads: events & IN != 0, writes: events & OUT != 0 })
    };
    Some(table.chunks_exact(8).filter_map(watch).collect())
}

fn select(arguments: &[u64; 6], memory: &impl Memory) -> Option<Vec<Watch>> {
    let count = u32::try_from(arguments[0]).ok().filter(|count| u64::from(*count) <= MOST)?;
    let bytes = count.next_multiple_of(64) as usize / 8;
    let set = |address| match address {
        0 => Some(Vec::new()),
        address => memory.read(address, bytes),
    };
    let (reads, writes) = (set(arguments[1])?, set(arguments[2])?);
    let holds = |set: &[u8], fd: u32| {
        set.get(fd as usize / 8).is_some_and(|byte| byte >> (fd % 8) & 1 == 1)
    };
    let watches =
        (0..count).map(|fd| Watch { fd, reads: holds(&reads, fd), writes: holds(&writes, fd) });
    Some(watches.filter(|watch| watch.reads || watch.writes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl Memory for Bytes {
        fn read(&self, address: u64, length: usize) -> Option<Vec<u8>> {
            let from = usize::try_from(address).ok()?;
            self.0.get(from..from.checked_add(length)?).map(<[u8]>::to_vec)
        }
    }

    fn call(name: &str, arguments: &str, memory: &[u8]) -> Call {
        let number: Sysno = name.parse().unwrap();
        parse(&format!("{} {arguments}", number.id()), String::new, &Bytes(memory.to_vec()))
    }

    #[test]
    fn a_call_on_a_descriptor_names_it() {
        assert_eq!(call("recvfrom", "0x7 0x0 0x0 0x0 0x0 0x0 0x1 0x2", b""), Call::Read(7));
        assert_eq!(call("sendto", "0x7", b""), Call::Write(7));
        assert_eq!(call("accept4", "0xffffffff00000003", b""), Call::Accept(3));
        assert_eq!(call("futex", "0x7f00", b""), Call::Futex);
        assert_eq!(call("getppid", "", b""), Call::Other("getppid"));
    }

    #[test]
    fn outside_of_every_call_it_runs() {
        for line in ["running", "-1 0x7ff 0x7ff", "", "x"] {
            assert_eq!(parse(line, String::new, &Bytes(Vec::new())), Call::None, "{line}");
        }
    }

    #[test]
    fn what_is_polled_is_read_from_memory() {
        let mut table = vec![0; 16];
        table.extend(4_i32.to_ne_bytes().iter().chain(&1_u16.to_ne_bytes()).chain(&[0; 2]));
        table.extend((-1_i32).to_ne_bytes().iter().chain(&1_u16.to_ne_bytes()).chain(&[0; 2]));
        let watched = vec![Watch { fd: 4, reads: true, writes: false }];
        let number: Sysno = "ppoll".parse().unwrap();
        let line = format!("{} 0x10 0x2 0x0", number.id());
        assert_eq!(
            parse(&line, String::new, &Bytes(table.clone())),
            Call::Poll(Some(watched.clone()))
        );
        let restarted: Sysno = "restart_syscall".parse().unwrap();
        let line = format!("{} 0x10 0x2 0x0", restarted.id());
        let in_poll = || "do_sys_poll".to_owned();
        assert_eq!(parse(&line, in_poll, &Bytes(table)), Call::Poll(Some(watched)));
    }

    #[test]
    fn the_address_of_a_connect_is_read_from_memory() {
        let connect =
            |length, address: &[u8]| call("connect", &format!("0x3 0x0 {length:#x}"), address);
        let named = |name: &[u8]| Call::Connect(3, Some(name.to_vec()));
        assert_eq!(connect(8, b"\x01\0/run\0x"), named(b"/run"));
        assert_eq!(connect(6, b"\x01\0\0app"), named(b"\0app"));
        for (length, other) in [(6, &b"\x02\0\0\0\0\0"[..]), (2, b"\x01\0"), (900, b"\x01\0/")] {
            assert_eq!(connect(length, other), Call::Connect(3, None), "{other:?}");
        }
    }

    #[test]
    fn where_a_datagram_goes_is_read_from_memory() {
        // An address of 8 bytes at 0, and a header that names it at 16.
        let mut memory = b"\x01\0/run\0x".to_vec();
        memory.extend([0; 8]);
        memory.extend(0_u64.to_ne_bytes().iter().chain(&[0; 16]));
        let mut shifted = vec![0; 8];
        shifted.extend(&memory);
        shifted[24..32].copy_from_slice(&8_u64.to_ne_bytes());
        shifted[32..36].copy_from_slice(&8_u32.to_ne_bytes());
        let to = |name: &str, arguments: &str| {
            let number: Sysno = name.parse().unwrap();
            destination(&format!("{} {arguments}", number.id()), &Bytes(shifted.clone()))
        };
        assert_eq!(to("sendto", "0x3 0x0 0x1 0x0 0x8 0x8"), Some(b"/run".to_vec()));
        assert_eq!(to("sendmsg", "0x3 0x18 0x0"), Some(b"/run".to_vec()));
        for (name, arguments) in [
            ("sendto", "0x3 0x0 0x1 0x0 0x0 0x0"),
            ("sendto", "0x3 0x0 0x1 0x0 0xffff 0x8"),
            ("sendmsg", "0x3 0xffff 0x0"),
            ("write", "0x3 0x18 0x0"),
        ] {
            assert_eq!(to(name, arguments), None, "{name} {arguments}");
        }
    }

    #[test]
    fn what_is_selected_is_read_from_memory() {
        let mut sets = vec![0; 24];
        sets[8] = 0b1000;
        sets[16] = 0b10000;
        let watched = vec![
            Watch { fd: 3, reads: true, writes: false },
            Watch { fd: 4, reads: false, writes: true },
        ];
        assert_eq!(call("pselect6", "0x5 0x8 0x10", &sets), Call::Poll(Some(watched)));
    }

    #[test]
    fn a_program_that_polls_nothing_sleeps() {
        assert_eq!(call("poll", "0x0 0x0 0x3e8", b""), Call::Sleep);
        assert_eq!(call("pselect6", "0x0 0x0 0x0 0x0 0x10", b""), Call::Sleep);
        let for_exceptions = call("pselect6", "0x5 0x0 0x0 0x8", b"");
        assert_eq!(for_exceptions, Call::Poll(Some(Vec::new())));
    }

    /// Regression: a server that slept so was said to wait in another call, with certainty.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_instruction_that_made_a_call_tells_of_which_table_its_number_is() {
        let text = Bytes(b"\x90\x0f\x05\x90\xcd\x80\x90".to_vec());
        let line = |at: &str| format!("162 0x1 0x2 0x3 0x4 0x5 0x6 0x7ff {at}");
        let is_32 = |at: &str| is_of_32_bits(returns_to(&line(at)).unwrap(), &text);
        assert_eq!([is_32("0x3"), is_32("0x6")], [false, true]);
        assert_eq!([is_32("0x0"), is_32("0x1"), is_32("0x999")], [false; 3]);
        assert_eq!([returns_to("running"), returns_to("")], [None; 2]);
    }

    #[test]
    fn after_how_long_a_call_returns_by_itself_is_read_from_its_arguments() {
        let timeout = |name: &str, arguments: &str| {
            let number: Sysno = name.parse().unwrap();
            let memory: Vec<u8> =
                [0_u64, 0, 2, 500_000_000].iter().flat_map(|word| word.to_ne_bytes()).collect();
            super::timeout(&format!("{} {arguments}", number.id()), &Bytes(memory))
        };
        assert_eq!(timeout("poll", "0x0 0x1 0x3e8"), Some(Duration::from_secs(1)));
        assert_eq!(timeout("epoll_wait", "0x3 0x0 0x1 0x64"), Some(Duration::from_millis(100)));
        assert_eq!(timeout("poll", "0x0 0x1 0xffffffff"), None);
        assert_eq!(timeout("ppoll", "0x0 0x1 0x10"), Some(Duration::from_millis(2_500)));
        assert_eq!(timeout("pselect6", "0x1 0x0 0x0 0x0 0x0"), None);
        assert_eq!(timeout("pselect6", "0x1 0x0 0x0 0x0 0x999"), None);
        assert_eq!(timeout("read", "0x1 0x0 0x0"), None);
        assert_eq!(super::timeout("running", &Bytes(Vec::new())), None);
    }

    #[test]
    fn arguments_that_lead_nowhere_are_not_known_and_nothing_worse() {
        for arguments in ["0xffffffffffffffff 0x1", "0x0 0xffffffffffffffff", "0x0 0x1", ""] {
            let call = call("ppoll", arguments, b"");
            assert!(matches!(call, Call::Poll(_) | Call::Sleep), "{arguments}: {call:?}");
        }
        assert_eq!(call("pselect6", "0xffffffff 0x1 0x1", b""), Call::Poll(None));
        assert_eq!(call("pselect6", "0x10 0x999 0x0", b""), Call::Poll(None));
    }
}
