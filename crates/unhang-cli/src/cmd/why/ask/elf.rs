//! Where the parts of a program's file lie in its process: sections and symbols.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;

use object::elf::{EM_X86_64, PF_W, PT_LOAD, STT_OBJECT};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, ReadCache};

use super::memory::{Address, Mapping, Memory, refused};

type Elf<'a> = ElfFile64<'a, Endianness, &'a ReadCache<File>>;

/// The kernel maps whole pages. On machines with larger ones the lower bits are zero just as well.
const PAGE: u64 = 0x1000;

/// Should somebody have put a pipe where a library was, opening it must not wait for a writer.
const O_NONBLOCK: i32 = 0o4000;

/// A program's or library's file, and where it is mapped. Only the parts that are asked for are
/// read: the files are large.
pub(super) struct Image {
    content: ReadCache<File>,
    /// What is added to the file's addresses.
    bias: u64,
}

impl Image {
    /// The program that the process runs.
    pub(super) fn of_program(pid: u32, memory: &Memory) -> Result<Self, String> {
        let link = format!("/proc/{pid}/exe");
        let path = fs::read_link(&link).map_err(|error| refused(pid, &error))?;
        let file = File::open(&link).map_err(|error| refused(pid, &error))?;
        Self::new(file, &path.to_string_lossy(), memory)
    }

    /// A library that is mapped into the process.
    pub(super) fn of_library(pid: u32, mapping: &Mapping, memory: &Memory) -> Result<Self, String> {
        // By way of the process's root: the path is the process's own.
        let path = format!("/proc/{pid}/root{}", mapping.path);
        let mut options = File::options();
        let file = options.read(true).custom_flags(O_NONBLOCK).open(&path);
        Self::new(file.map_err(|error| format!("{path:?}: {error}"))?, &mapping.path, memory)
    }

    fn new(file: File, path: &str, memory: &Memory) -> Result<Self, String> {
        let mut image = Self { content: ReadCache::new(file), bias: 0 };
        let elf = image.elf()?;
        let endian = elf.endian();
        let first = elf.elf_program_headers().iter().find(|part| part.p_type(endian) == PT_LOAD);
        let first = first.ok_or("nothing of its program is loaded")?;
        let (address, offset) = (first.p_vaddr(endian), first.p_offset(endian));
        let mapped = memory
            .mappings()
            .iter()
            .find(|mapping| mapping.path == path && mapping.offset == offset & !(PAGE - 1))
            .ok_or_else(|| format!("{path:?} is not mapped as its headers say"))?;
        let bias = mapped.start.wrapping_sub(address & !(PAGE - 1));
        image.bias = bias;
        Ok(image)
    }

    /// Whether it is built for the one processor whose layouts are known here.
    pub(super) fn is_x86_64(&self) -> Result<bool, String> {
        let elf = self.elf()?;
        Ok(elf.elf_header().e_machine(elf.endian()) == EM_X86_64)
    }

    /// Where in the process the variable lies that the file exports under this name.
    pub(super) fn exported(&self, name: &str) -> Result<Option<Address>, String> {
        let elf = self.elf()?;
        let (table, endian) = (elf.elf_dynamic_symbol_table(), elf.endian());
        let is_it = |symbol: &&object::elf::Sym64<Endianness>| {
            symbol.st_type() == STT_OBJECT
                && symbol.name(endian, table.strings()) == Ok(name.as_bytes())
        };
        let symbol = table.iter().find(is_it);
        Ok(symbol.map(|symbol| Address(self.bias) + symbol.st_value(endian)))
    }

    /// Where in the process the section lies.
    pub(super) fn section(&self, name: &str) -> Result<Option<Range<Address>>, String> {
        let elf = self.elf()?;
        let (table, endian) = (elf.elf_section_table(), elf.endian());
        let section = table.section_by_name(endian, name.as_bytes());
        Ok(section.map(|(_, section)| self.range(section.sh_addr(endian), section.sh_size(endian))))
    }

    /// Where its variables lie in the process.
    pub(super) fn writable(&self) -> Result<Vec<Range<Address>>, String> {
        let elf = self.elf()?;
        let endian = elf.endian();
        let parts = elf
            .elf_program_headers()
            .iter()
            .filter(|part| part.p_type(endian) == PT_LOAD && part.p_flags(endian).contains(PF_W));
        Ok(parts.map(|part| self.range(part.p_vaddr(endian), part.p_memsz(endian))).collect())
    }

    fn range(&self, address: u64, size: u64) -> Range<Address> {
        let start = Address(self.bias) + address;
        start..start + size
    }

    fn elf(&self) -> Result<Elf<'_>, String> {
        Elf::parse(&self.content).map_err(|_| "it is not a 64-bit ELF program".to_owned())
    }
}
