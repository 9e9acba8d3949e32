//! Which function an address of a Go program's code belongs to. Every Go program carries that table
//! with it, for its own stack traces.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use super::super::elf::Image;
use super::super::escape;
use super::super::location::Frame;
use super::super::memory::{Address, Memory};
use super::inlined::Inlined;
use super::layout::{LONGEST_NAME, Layout};
use super::lines::Lines;

/// Offsets in `moduledata` (symtab.go), the same from 1.19 to 1.27. Slices have their length and
/// capacity behind the pointer.
mod module {
    pub(super) const PC_HEADER: u64 = 0;
    pub(super) const NAMES: u64 = 8;
    pub(super) const UNITS: u64 = 32;
    pub(super) const FILES: u64 = 56;
    pub(super) const PC_TABLE: u64 = 80;
    pub(super) const TABLE: u64 = 104;
    pub(super) const INDEX: u64 = 128;
    pub(super) const MIN_PC: u64 = 160;
    pub(super) const MAX_PC: u64 = 168;
    pub(super) const TEXT: u64 = 176;
    pub(super) const BSS: u64 = 224;
    pub(super) const BSS_END: u64 = 232;
}

/// What a `pcHeader` begins with: a magic number (0xfffffff0 in 1.18 and 1.19, 0xfffffff1 since),
/// two zeroes, the size of the smallest instruction on x86 and of pointers.
const PC_HEADERS: [u64; 2] = [0x0801_0000_ffff_fff0, 0x0801_0000_ffff_fff1];
/// The names begin right behind the `pcHeader`, which is 0x48 or 0x60 bytes long.
const PC_HEADER_SIZE: Range<u64> = 0x40..0x81;

/// How much of a program's variables is searched, for a program may have huge ones.
const MOST_SEARCHED: u64 = 64 << 20;
const PIECE: u64 = 1 << 20;
/// Far more than the largest programs have.
const MOST_FUNCTIONS: u64 = 1 << 24;

/// The table of a program's functions.
pub(super) struct Functions<'a> {
    memory: &'a Memory,
    names: Address,
    table: Address,
    index: Address,
    count: u64,
    code: Range<Address>,
    text: Address,
    /// Where the variables lie that hold pointers and are zero at first.
    bss: Range<Address>,
    inlined: Option<Inlined<'a>>,
    lines: Lines<'a>,
    /// Many goroutines are in the same places.
    known: RefCell<HashMap<Address, Option<Function>>>,
}

#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) entry: Address,
    /// Where its `_func` lies.
    about: Address,
    /// Those that are inlined there, innermost first, and at which byte each is called.
    inlined: Vec<(String, u64)>,
}

impl Function {
    /// The function and those that are inlined there, innermost first.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.inlined.iter().map(|(name, _)| name).chain([&self.name])
    }
}

impl<'a> Functions<'a> {
    /// Finds the `moduledata` among the program's variables by what it begins with.
    pub(super) fn find(memory: &'a Memory, image: &Image, layout: Layout) -> Result<Self, String> {
        for part in image.writable() {
            let found = search(memory, part, 4, |at, words| match *words {
                [header, names, length, capacity]
                    if PC_HEADER_SIZE.contains(&names.wrapping_sub(header))
                        && length == capacity
                        && memory
                            .u64(Address(header))
                            .is_ok_and(|begin| PC_HEADERS.contains(&begin)) =>
                {
                    Self::of_module(memory, at, layout).ok()
                }
                _ => None,
            });
            if let Some(functions) = found {
                return Ok(functions);
            }
        }
        Err("its table of functions was not found".to_owned())
    }

    fn of_module(memory: &'a Memory, module: Address, layout: Layout) -> Result<Self, String> {
        let word = |offset| memory.u64(module + offset);
        let place = |offset| word(offset).map(Address);
        let names = place(module::NAMES)?;
        let inlined = match layout.inlining {
            Some(shape) => Some(Inlined {
                memory,
                names,
                pc_table: place(module::PC_TABLE)?,
                tree: place(shape.go_func)?,
                shape,
            }),
            None => None,
        };
        let functions = Self {
            memory,
            names,
            table: place(module::TABLE)?,
            index: place(module::INDEX)?,
            // One entry more marks the end of the last function.
            count: word(module::INDEX + 8)?.saturating_sub(1),
            code: place(module::MIN_PC)?..place(module::MAX_PC)?,
            text: place(module::TEXT)?,
            bss: place(module::BSS)?..place(module::BSS_END)?,
            inlined,
            lines: Lines {
                memory,
                units: place(module::UNITS)?,
                files: place(module::FILES)?,
                pc_table: place(module::PC_TABLE)?,
            },
            known: RefCell::default(),
        };
        let fits = (1..MOST_FUNCTIONS).contains(&functions.count)
            && place(module::PC_HEADER)? < functions.names
            && functions.entry(0)? == functions.code.start
            && functions.entry(functions.count)? == functions.code.end;
        fits.then_some(functions).ok_or_else(|| "its table of functions does not fit".to_owned())
    }

    /// The function that has this address in its code.
    pub(super) fn at(&self, pc: Address) -> Result<Option<Function>, String> {
        if !self.code.contains(&pc) {
            return Ok(None);
        }
        if let Some(known) = self.known.borrow().get(&pc) {
            return Ok(known.clone());
        }
        let found = Some(self.look_up(pc)?);
        self.known.borrow_mut().insert(pc, found.clone());
        Ok(found)
    }

    /// Searches the program's variables for so many words in a row.
    pub(super) fn search_variables<T>(
        &self,
        length: usize,
        found: impl FnMut(Address, &[u64]) -> Option<T>,
    ) -> Option<T> {
        search(self.memory, self.bss.clone(), length, found)
    }

    /// The calls at an address of the function, innermost first, with the lines that they are at.
    pub(super) fn calls(&self, function: &Function, pc: Address) -> Vec<Frame> {
        let mut offset = pc.0.wrapping_sub(function.entry.0);
        let call = |name: &str, offset| {
            let (file, line) = self.lines.at(function.about, offset).unzip();
            let function = escape::name(name.as_bytes());
            Frame { file: file.unwrap_or_else(|| "?".to_owned()), line, function }
        };
        let mut calls = Vec::new();
        for (name, called_at) in &function.inlined {
            calls.push(call(name, offset));
            offset = *called_at;
        }
        calls.push(call(&function.name, offset));
        calls
    }

    fn look_up(&self, pc: Address) -> Result<Function, String> {
        let (mut low, mut high) = (0, self.count);
        while high - low > 1 {
            let middle = low.midpoint(high);
            match self.entry(middle)? <= pc {
                true => low = middle,
                false => high = middle,
            }
        }
        // `functab`: where the function begins and where its `_func` lies, whose second field is
        // where its name lies.
        let about = self.table + u64::from(self.memory.u32(self.index + low * 8 + 4)?);
        let name = self.names + u64::from(self.memory.u32(about + 4)?);
        let entry = self.entry(low)?;
        // The function itself is known even if these are not.
        let inlined = self.inlined.as_ref().map(|inlined| inlined.at(about, entry, pc));
        let inlined = inlined.and_then(Result::ok).unwrap_or_default();
        let name = self.memory.c_string(name, LONGEST_NAME)?;
        Ok(Function { name, entry, about, inlined })
    }

    fn entry(&self, number: u64) -> Result<Address, String> {
        Ok(self.text + u64::from(self.memory.u32(self.index + number * 8)?))
    }
}

/// Looks at every so many words in a row of a piece of memory, until they are what is searched for.
fn search<T>(
    memory: &Memory,
    part: Range<Address>,
    length: usize,
    mut found: impl FnMut(Address, &[u64]) -> Option<T>,
) -> Option<T> {
    let mut start = Address(part.start.0 & !7);
    let end = part.end.min(start + MOST_SEARCHED);
    while start < end {
        // With as much of the next piece as a find across the border needs.
        let size = (end.0 - start.0).min(PIECE);
        let bytes = memory.bytes(start, usize::try_from(size).ok()?).ok()?;
        let words: Vec<_> = bytes
            .chunks_exact(8)
            .filter_map(|word| word.try_into().ok())
            .map(u64::from_le_bytes)
            .collect();
        let found =
            words.windows(length).zip(0..).find_map(|(words, n)| found(start + n * 8, words));
        if found.is_some() {
            return found;
        }
        if size < PIECE {
            return None;
        }
        start = start + (size - (length as u64 - 1) * 8);
    }
    None
}
