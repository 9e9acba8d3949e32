//! Checked reads of another process's memory.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Add;
use std::os::unix::fs::FileExt;

use crate::sock_diag::FileId;

/// No single read is longer: a length that was read from a torn structure must not take all memory.
const LARGEST_READ: usize = 1 << 20;

/// A process chooses what its memory leads to, so it also chooses how much there is to read. One look
/// at one process makes at most so many reads, of so many bytes: about a second's work. The largest
/// honest one, a Go program with 100,000 goroutines, takes a third of it.
const MOST_READS: u64 = 1 << 20;
const MOST_BYTES: u64 = 512 << 20;

/// 65,530 mappings, the kernel's default limit, with paths of usual length. A process with longer
/// ones has made them to cost us memory.
const LONGEST_MAPS: u64 = 16 << 20;

/// Bytes that can be read at any place: a process's memory, a file, or what a test makes up.
pub(super) trait Bytes {
    /// As `pread(2)`: fewer bytes than asked for at the end of what is there.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;

    /// All of it or an error.
    fn read_exact_at(&self, mut into: &mut [u8], mut at: u64) -> io::Result<()> {
        while !into.is_empty() {
            match self.read_at(into, at)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => {
                    into = into.get_mut(read..).unwrap_or_default();
                    at = at.wrapping_add(read as u64);
                }
            }
        }
        Ok(())
    }
}

impl Bytes for File {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, at)
    }
}

/// A place in another process's memory, as something there says. It may be any number, so sums wrap.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Address(pub(super) u64);

impl Add<u64> for Address {
    type Output = Self;

    fn add(self, offset: u64) -> Self {
        Self(self.0.wrapping_add(offset))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The memory of one process.
pub(super) struct Memory {
    content: Box<dyn Bytes>,
    mappings: Vec<Mapping>,
    reads: Cell<u64>,
    bytes: Cell<u64>,
}

/// A line of /proc/PID/maps that has a file behind it.
#[derive(Debug, PartialEq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where in the file it starts.
    pub(super) offset: u64,
    /// The file itself: the path may lead to another by now.
    pub(super) file: FileId,
    pub(super) path: String,
}

impl Memory {
    pub(super) fn open(pid: u32) -> Result<Self, String> {
        let refused = |error: io::Error| refused(pid, &error);
        let maps = File::open(format!("/proc/{pid}/maps")).map_err(refused)?;
        let mut text = Vec::new();
        maps.take(LONGEST_MAPS + 1).read_to_end(&mut text).map_err(refused)?;
        if text.len() as u64 > LONGEST_MAPS {
            return Err(format!("process {pid} has more mappings than are looked at"));
        }
        let content = File::open(format!("/proc/{pid}/mem")).map_err(refused)?;
        let mappings = String::from_utf8_lossy(&text).lines().filter_map(mapping).collect();
        Ok(Self::new(Box::new(content), mappings))
    }

    pub(super) fn new(content: Box<dyn Bytes>, mappings: Vec<Mapping>) -> Self {
        Self { content, mappings, reads: Cell::new(0), bytes: Cell::new(0) }
    }

    /// The files that are mapped, a line for each piece.
    pub(super) fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    pub(super) fn bytes(&self, at: Address, length: usize) -> Result<Vec<u8>, String> {
        if length > LARGEST_READ {
            return Err(format!("{length} bytes at {at} are more than fit there"));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, at)?;
        Ok(bytes)
    }

    pub(super) fn u8(&self, at: Address) -> Result<u8, String> {
        Ok(self.array::<1>(at)?[0])
    }

    pub(super) fn u32(&self, at: Address) -> Result<u32, String> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&self, at: Address) -> Result<u64, String> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// A pointer to something that is there. `None` for null.
    pub(super) fn pointer(&self, at: Address) -> Result<Option<Address>, String> {
        match self.u64(at)? {
            0 => Ok(None),
            to if to % 8 == 0 => Ok(Some(Address(to))),
            to => Err(format!("what should be a pointer at {at} is {to:#x}")),
        }
    }

    /// A pointer that must not be null.
    pub(super) fn follow(&self, at: Address) -> Result<Address, String> {
        self.pointer(at)?.ok_or_else(|| format!("the pointer at {at} leads nowhere"))
    }

    /// So many bytes, or fewer if the memory behind them is not there.
    pub(super) fn up_to(&self, at: Address, limit: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; limit.min(LARGEST_READ)];
        self.charge(bytes.len())?;
        let read = self.content.read_at(&mut bytes, at.0);
        let read = read.map_err(|error| unreadable(at, &error))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The C string, a name of a few bytes, that the pointer leads to.
    pub(super) fn follow_text(&self, at: Address) -> Result<String, String> {
        // Only what is aligned counts as a pointer elsewhere; text may lie anywhere.
        self.c_string(Address(self.u64(at)?), 64)
    }

    /// Text up to its NUL, which must come within `limit` bytes.
    pub(super) fn c_string(&self, at: Address, limit: usize) -> Result<String, String> {
        let mut bytes = self.up_to(at, limit)?;
        let end = bytes.iter().position(|&byte| byte == 0);
        bytes.truncate(end.ok_or_else(|| format!("the name at {at} does not end"))?);
        let text = String::from_utf8(bytes).ok();
        // Control characters are in no name, but would drive our terminal.
        let text = text.filter(|text| !text.contains(char::is_control));
        text.ok_or_else(|| format!("the name at {at} is not text"))
    }

    fn array<const N: usize>(&self, at: Address) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, at)?;
        Ok(bytes)
    }

    fn fill(&self, bytes: &mut [u8], at: Address) -> Result<(), String> {
        self.charge(bytes.len())?;
        self.content.read_exact_at(bytes, at.0).map_err(|error| unreadable(at, &error))
    }

    fn charge(&self, bytes: usize) -> Result<(), String> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + bytes as u64);
        match self.reads.get() > MOST_READS || self.bytes.get() > MOST_BYTES {
            true => Err("its memory leads to more than is looked at".to_owned()),
            false => Ok(()),
        }
    }
}

/// So many looks at what may change meanwhile. A Python thread whose event loop spins is seen whole in two looks of
/// three: with three looks its line was missing once in 25 diagnoses.
const LOOKS: usize = 8;

/// Looks again when what was seen does not fit: it may have been changed halfway.
pub(super) fn steady<T>(mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let first = look();
    (1..LOOKS).fold(first, |seen, _| seen.or_else(|_| look()))
}

fn unreadable(at: Address, error: &io::Error) -> String {
    format!("its memory at {at} cannot be read: {error}")
}

/// Why a file of /proc/PID did not open, and what would be enough.
pub(super) fn refused(pid: u32, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            format!(
                "to look into process {pid} takes root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
            )
        }
        // ESRCH comes from a process that is just ending.
        _ if error.raw_os_error() == Some(3) => format!("process {pid} is gone"),
        ErrorKind::NotFound => format!("process {pid} is gone"),
        _ => format!("process {pid} cannot be looked into: {error}"),
    }
}

/// Columns: `START-END PERMISSIONS OFFSET DEVICE INODE PATH`, `proc_pid_maps(5)`.
fn mapping(line: &str) -> Option<Mapping> {
    let mut columns = line.splitn(6, ' ');
    let (start, end) = columns.next()?.split_once('-')?;
    let offset = columns.nth(1)?;
    let (major, minor) = columns.next()?.split_once(':')?;
    let inode: u64 = columns.next()?.parse().ok()?;
    // The path may have spaces in it, and is padded in front.
    let path = columns.next()?.trim_start();
    let hex = |digits| u64::from_str_radix(digits, 16).ok();
    // The same bits as the kernel's own table of sockets has.
    #[allow(clippy::cast_possible_truncation)]
    let file = FileId {
        inode: inode as u32,
        major: u32::from_str_radix(major, 16).ok()?,
        minor: u32::from_str_radix(minor, 16).ok()?,
    };
    let (start, end, offset) = (hex(start)?, hex(end)?, hex(offset)?);
    path.starts_with('/').then(|| Mapping { start, end, offset, file, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Memory {
        Memory::open(std::process::id()).unwrap()
    }

    fn address<T: ?Sized>(of: &T) -> Address {
        Address(std::ptr::from_ref(of).cast::<u8>() as u64)
    }

    #[test]
    fn a_mapping_is_read_with_its_path() {
        let line =
            "55d0c8a00000-55d0c8a02000 r--p 0001f000 fe:00 1234    /opt/my app/php (deleted)";
        let expected = Mapping {
            start: 0x55d0_c8a0_0000,
            end: 0x55d0_c8a0_2000,
            offset: 0x1f000,
            file: FileId { inode: 1234, major: 0xfe, minor: 0 },
            path: "/opt/my app/php (deleted)".to_owned(),
        };
        assert_eq!(mapping(line), Some(expected));
        for other in
            ["7ffc0000-7ffc1000 rw-p 00000000 00:00 0 [stack]", "7f00-7f01 rw-p 0 0:0 0", ""]
        {
            assert_eq!(mapping(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_there_is_read_and_what_is_not_is_said() {
        let text = *b"a name that ends\0rest";
        let colour = *b"\x1b[31m\0";
        let word = Box::new(0x0102_0304_0506_0708_u64);
        let memory = own();
        assert_eq!(memory.c_string(address(&text), 64).unwrap(), "a name that ends");
        assert!(memory.c_string(address(&colour), 8).unwrap_err().contains("is not text"));
        assert!(memory.c_string(address(&text), 8).unwrap_err().contains("does not end"));
        assert_eq!(memory.u64(address(&*word)).unwrap(), *word);
        assert_eq!(memory.u32(address(&*word)).unwrap(), 0x0506_0708);
        for nowhere in [0, 0x10, u64::MAX - 3] {
            assert!(memory.u64(Address(nowhere)).unwrap_err().contains("cannot be read"));
        }
        assert!(memory.bytes(address(&text), LARGEST_READ + 1).unwrap_err().contains("more than"));
    }

    #[test]
    fn a_pointer_leads_somewhere_or_nowhere_or_is_none() {
        let target = Box::new(7_u64);
        let pointers = [address(&*target).0, 0, 0x1001];
        let (memory, at) = (own(), address(&pointers));
        assert_eq!(memory.pointer(at).unwrap(), Some(address(&*target)));
        assert_eq!(memory.pointer(at + 8).unwrap(), None);
        assert!(memory.follow(at + 8).unwrap_err().contains("leads nowhere"));
        assert!(memory.pointer(at + 16).unwrap_err().contains("should be a pointer"));
    }

    /// A stranger's program led `why` through look-alikes for more than 90 s.
    #[test]
    fn memory_that_leads_on_for_ever_is_left() {
        struct Zeroes;
        impl Bytes for Zeroes {
            fn read_at(&self, into: &mut [u8], _: u64) -> io::Result<usize> {
                into.fill(0);
                Ok(into.len())
            }
        }
        let memory = || Memory::new(Box::new(Zeroes), Vec::new());
        let (small, large) = (memory(), memory());
        let reads = (0..=MOST_READS).take_while(|at| small.u64(Address(at * 8)).is_ok()).count();
        assert_eq!(reads as u64, MOST_READS);
        let pieces = (0..10_000).take_while(|_| large.bytes(Address(0), LARGEST_READ).is_ok());
        assert_eq!(pieces.count() as u64, MOST_BYTES / LARGEST_READ as u64);
        assert!(large.u8(Address(0)).unwrap_err().contains("more than is looked at"));
    }

    #[test]
    fn a_process_that_is_gone_is_said_to_be() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(Memory::open(child.id()).err().unwrap().contains("is gone"));
    }
}
