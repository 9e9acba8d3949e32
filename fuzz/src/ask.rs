//! A process's program and memory, which are a stranger's: no bytes in them lead to more than is looked
//! at, or to text that acts on a terminal.
//!
//! The command is a program, with nothing to
//! link to, so its files are taken in: `ask` is a link to their directory.

#![allow(dead_code, unreachable_pub)]

mod elf;
mod escape;
mod go;
mod location;
mod memory;
mod php;
mod python;
mod reader;

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use crate::sock_diag::FileId;
use elf::Image;
use location::Location;
use memory::{Address, Bytes, Mapping, Memory};

/// A program whose file lies at a place in memory, and what is read of it.
/// Reads all that there is to read, with the input as file and as memory. `runtime` is where Python's
/// or PHP's own variables are said to lie.
fn look(
    file: Box<dyn Bytes>,
    memory: &Memory,
    runtime: u64,
    version: u32,
) -> Result<Vec<Location>, String> {
    let image = Image::new(file, "/x", memory)?;
    image.exported(["executor_globals", "_PyRuntime"])?;
    image.section(".go.buildinfo")?;
    image.writable();
    let at = Some(Address(runtime));
    let exports = php::Exports {
        globals: (version & 1 == 0).then_some(Address(runtime)),
        globals_offset: at,
        sapi: at,
        sapi_offset: at,
        registry: at,
    };
    let php = php::locations(memory, &image, exports, &[1, 2], true);
    let python = python::locations(memory, &image, Address(runtime), Some(version), &[1, 2]);
    Ok([php, python].into_iter().filter_map(Result::ok).flatten().collect())
}

/// Where the input lies in memory: low, so that small numbers in it are pointers.
const BASE: u64 = 0x100;
/// So many bytes are read at most, of the file: its tables, and its names several times.
const MOST: u64 = 1 << 30;

struct Input {
    bytes: Rc<[u8]>,
    base: u64,
    read: Rc<Cell<u64>>,
}

impl Bytes for Input {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.read.set(self.read.get() + into.len() as u64);
        let from = at.checked_sub(self.base).and_then(|from| usize::try_from(from).ok());
        let rest = from.and_then(|from| self.bytes.get(from..)).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        match length {
            0 if self.base > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => Ok(length),
        }
    }
}

/// A program and its memory, both of these bytes, and how much of them is read.
fn program(bytes: &[u8]) -> (Box<dyn Bytes>, Memory, Rc<Cell<u64>>) {
    let bytes: Rc<[u8]> = bytes.into();
    let read = Rc::new(Cell::new(0));
    let input = |base| Box::new(Input { bytes: bytes.clone(), base, read: read.clone() });
    let file = FileId { inode: 1, major: 2, minor: 3 };
    let mapping = Mapping { start: 0, end: 1 << 20, offset: 0, file, path: "/x".to_owned() };
    (input(0), Memory::new(input(BASE), vec![mapping]), read)
}

/// Takes the first bytes for a descriptor and what its epoll has for it, and the rest for the file of a Go
/// program, which is also its memory.
pub fn goroutines(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<6>() else { return };
    let fd = u32::from(u16::from_le_bytes([head[0], head[1]]));
    let epoll_data = u64::from(u32::from_le_bytes([head[2], head[3], head[4], head[5]]));
    let (file, memory, read) = program(rest);
    let Ok(image) = Image::new(file, "/x", &memory) else { return };
    let found = go::readers(&memory, &image, &[(fd, epoll_data), (fd + 1, epoll_data)], || Ok(()));
    assert!(read.get() < MOST, "{} bytes", read.get());
    let all = go::locations(&memory, &image).unwrap_or_default();
    let readers = found.ok().flatten().into_iter().flatten().filter_map(Result::ok);
    for place in readers.filter_map(|reader| reader.location().cloned()).chain(all) {
        assert!(place.stack.len() <= 1024, "{}", place.stack.len());
        for text in place.stack.iter().flat_map(|frame| [&frame.file, &frame.function]) {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}

/// Takes the first bytes for where to begin and for a version, and the rest for the program's file,
/// which is also its memory.
pub fn runtimes(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<4>() else { return };
    let runtime = BASE + u64::from(u16::from_le_bytes([head[0], head[1]]));
    let version = 3 << 24 | u32::from(head[2] % 16) << 16 | u32::from(head[3]);
    let (file, memory, read) = program(rest);
    let Ok(found) = look(file, &memory, runtime, version) else { return };
    assert!(read.get() < MOST, "{} bytes", read.get());
    for place in found {
        assert!(place.stack.len() <= 128 && place.variables.len() <= 128);
        let texts = place.stack.iter().flat_map(|frame| [&frame.file, &frame.function]);
        for text in texts.chain(place.variables.iter().flat_map(|(name, value)| [name, value])) {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}
