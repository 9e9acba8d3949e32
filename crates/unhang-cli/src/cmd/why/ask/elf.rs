//! Where the parts of a program's file lie in its process: sections and symbols.
//!
//! The file is a stranger's as much as the memory is: every size in it is bounded before anything is
//! read, as a file of a few kilobytes can claim tables of many gigabytes.

use std::ops::Range;

use object::LittleEndian;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_X86_64, FileHeader64, PF_W, PT_LOAD, ProgramHeader64,
    SHT_DYNSYM, STT_OBJECT, SectionHeader64, Sym64,
};
use object::pod::{self, Pod};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};

use super::memory::{Address, Bytes, Memory};

type Header = FileHeader64<LittleEndian>;
type Part = ProgramHeader64<LittleEndian>;
type Section = SectionHeader64<LittleEndian>;
type Symbol = Sym64<LittleEndian>;

/// The kernel maps whole pages. On machines with larger ones the lower bits are zero just as well.
const PAGE: u64 = 0x1000;

/// The largest programs have some 40 sections. The kernel itself takes no more program headers than
/// fill 64 KiB (`load_elf_phdrs`).
const MOST_SECTIONS: u64 = 4_096;
const MOST_PARTS: u64 = 1_170;
/// What a program exports: a browser has 10,000 symbols, and names of 1 MiB.
const MOST_SYMBOLS: u64 = 1 << 17;
const LONGEST_NAMES: u64 = 16 << 20;
/// How many symbols are read at once.
const PIECE: u64 = 4_096;

/// A program's or library's file, and where it is mapped. Only the parts that are asked for are
/// read: the files are large.
pub(super) struct Image {
    content: Box<dyn Bytes>,
    header: Header,
    parts: Vec<Part>,
    sections: Vec<Section>,
    /// What is added to the file's addresses.
    bias: u64,
}

impl Image {
    pub(super) fn new(
        content: Box<dyn Bytes>,
        path: &str,
        memory: &Memory,
    ) -> Result<Self, String> {
        const NOT_ELF: &str = "it is not a 64-bit ELF program";
        let header: Header = *read(&*content, 0, 1)?.first().ok_or(NOT_ELF)?;
        let identity = header.e_ident();
        if identity.magic != ELFMAG || identity.class != ELFCLASS64 || identity.data != ELFDATA2LSB
        {
            return Err(NOT_ELF.to_owned());
        }
        let endian = LittleEndian;
        let count = u64::from(header.e_phnum(endian));
        let parts = read(&*content, header.e_phoff(endian), count.min(MOST_PARTS))?;
        let count = u64::from(header.e_shnum(endian));
        let sections = read(&*content, header.e_shoff(endian), count.min(MOST_SECTIONS))?;
        let mut image = Self { content, header, parts, sections, bias: 0 };
        image.bias = image.find_bias(path, memory)?;
        Ok(image)
    }

    fn find_bias(&self, path: &str, memory: &Memory) -> Result<u64, String> {
        let first = self.parts.iter().find(|part| part.p_type(LittleEndian) == PT_LOAD);
        let first = first.ok_or("nothing of its program is loaded")?;
        let (address, offset) = (first.p_vaddr(LittleEndian), first.p_offset(LittleEndian));
        let mapped = memory
            .mappings()
            .iter()
            .find(|mapping| mapping.path == path && mapping.offset == offset & !(PAGE - 1))
            .ok_or_else(|| format!("{path:?} is not mapped as its headers say"))?;
        Ok(mapped.start.wrapping_sub(address & !(PAGE - 1)))
    }

    /// Whether it is built for the one processor whose layouts are known here.
    pub(super) fn is_x86_64(&self) -> bool {
        self.header.e_machine(LittleEndian) == EM_X86_64
    }

    /// Where in the process the variables lie that the file exports under these names.
    pub(super) fn exported<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Address>; N], String> {
        let mut found = [None; N];
        let is_table = |section: &&Section| section.sh_type(LittleEndian) == SHT_DYNSYM;
        let Some(table) = self.sections.iter().find(is_table) else { return Ok(found) };
        let strings = usize::try_from(table.sh_link(LittleEndian)).unwrap_or(usize::MAX);
        let Some(strings) = self.sections.get(strings) else { return Ok(found) };
        let text: Vec<u8> = read(
            &*self.content,
            strings.sh_offset(LittleEndian),
            strings.sh_size(LittleEndian).min(LONGEST_NAMES),
        )?;
        let count = table.sh_size(LittleEndian) / size_of::<Symbol>() as u64;
        let count = count.min(MOST_SYMBOLS);
        let mut start = 0;
        while start < count && found.contains(&None) {
            let at = start.saturating_mul(size_of::<Symbol>() as u64);
            let at = table.sh_offset(LittleEndian).saturating_add(at);
            let symbols: Vec<Symbol> = read(&*self.content, at, PIECE.min(count - start))?;
            for symbol in symbols.iter().filter(|one| one.st_type() == STT_OBJECT) {
                let from = usize::try_from(symbol.st_name(LittleEndian)).unwrap_or(usize::MAX);
                let Some(name) = text.get(from..) else { continue };
                let is_it = |wanted: &&str| {
                    name.starts_with(wanted.as_bytes()) && name.get(wanted.len()) == Some(&0)
                };
                let place = names.iter().position(is_it);
                if let Some(place) = place.and_then(|at| found.get_mut(at)) {
                    *place = Some(Address(self.bias) + symbol.st_value(LittleEndian));
                }
            }
            start += PIECE;
        }
        Ok(found)
    }

    /// Where in the process the section lies.
    pub(super) fn section(&self, name: &str) -> Result<Option<Range<Address>>, String> {
        let names = usize::from(self.header.e_shstrndx(LittleEndian).0);
        let Some(names) = self.sections.get(names) else { return Ok(None) };
        // The names of all sections there may be, at 64 bytes each.
        let length = names.sh_size(LittleEndian).min(MOST_SECTIONS * 64);
        let text: Vec<u8> = read(&*self.content, names.sh_offset(LittleEndian), length)?;
        let is_it = |section: &&Section| {
            let from = usize::try_from(section.sh_name(LittleEndian)).unwrap_or(usize::MAX);
            let rest = text.get(from..).unwrap_or_default();
            rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&0)
        };
        let section = self.sections.iter().find(is_it);
        Ok(section.map(|one| self.range(one.sh_addr(LittleEndian), one.sh_size(LittleEndian))))
    }

    /// Where its variables lie in the process.
    pub(super) fn writable(&self) -> Vec<Range<Address>> {
        let parts = self.parts.iter().filter(|part| {
            part.p_type(LittleEndian) == PT_LOAD && part.p_flags(LittleEndian).contains(PF_W)
        });
        parts
            .map(|part| self.range(part.p_vaddr(LittleEndian), part.p_memsz(LittleEndian)))
            .collect()
    }

    fn range(&self, address: u64, size: u64) -> Range<Address> {
        let start = Address(self.bias) + address;
        // One that would reach beyond the end of all memory is none.
        start..Address(start.0.saturating_add(size))
    }
}

/// So many in a row; fewer if the file ends.
fn read<T: Pod + Copy>(content: &dyn Bytes, at: u64, count: u64) -> Result<Vec<T>, String> {
    let size = size_of::<T>();
    let length = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(size);
    let mut bytes = vec![0_u8; length];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match content.read_at(rest, at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) => return Err(format!("its program cannot be read: {error}")),
        }
    }
    bytes.truncate(filled / size * size);
    let whole = pod::slice_from_all_bytes(&bytes).map(<[T]>::to_vec);
    whole.map_err(|()| "its program cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::rc::Rc;

    use super::super::memory::Mapping;
    use super::super::test_support::{Pieces, words};
    use super::*;
    use crate::sock_diag::FileId;

    /// A sparse file: zeros without end behind its first bytes, and how many were read.
    struct Sparse(Vec<u8>, Rc<Cell<u64>>);

    impl Bytes for Sparse {
        fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
            self.1.set(self.1.get() + into.len() as u64);
            into.fill(0);
            let begin = self.0.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
            let length = begin.len().min(into.len());
            into[..length].copy_from_slice(&begin[..length]);
            Ok(into.len())
        }
    }

    /// A table of symbols of 8 GiB, and names of as much, in a file of a few kilobytes: it took 7.6 GB
    /// of memory and more than a minute.
    #[test]
    fn a_sparse_program_of_many_gigabytes_is_read_in_part() {
        const LARGE: u64 = 8 << 30;
        let mut file = vec![0; 0x200];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01\x01");
        // Where the tables of parts and of sections begin, and how many there are.
        put(32, &words(&[64, 128]));
        put(54, &[56, 0, 1, 0, 64, 0, 2, 0, 1, 0]);
        put(64, &[1]);
        // Of the section: its type, place and size, and which one has its names.
        put(128 + 4, &[11]);
        put(128 + 24, &words(&[0x1000, LARGE]));
        put(128 + 40, &[1]);
        put(192 + 4, &[3]);
        put(192 + 24, &words(&[0x1000, LARGE]));
        let id = FileId { inode: 1, major: 2, minor: 3 };
        let mapping =
            Mapping { start: 0x1000, end: 0x2000, offset: 0, file: id, path: "/x".to_owned() };
        let memory = Memory::new(Box::new(Pieces(Vec::new())), vec![mapping]);
        let read = Rc::new(Cell::new(0));
        let image = Image::new(Box::new(Sparse(file, read.clone())), "/x", &memory).unwrap();
        assert_eq!(image.exported(["executor_globals"]), Ok([None]));
        let most = LONGEST_NAMES + MOST_SYMBOLS * size_of::<Symbol>() as u64;
        assert!((LONGEST_NAMES..most + 0x10000).contains(&read.get()), "{}", read.get());
    }
}
