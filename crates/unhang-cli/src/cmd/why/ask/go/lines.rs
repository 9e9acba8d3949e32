//! Which line of which file an address of a Go program's code is of.

use super::super::escape;
use super::super::memory::{Address, Memory};
use super::inlined::{LONGEST_TABLE, value};

/// Offsets in `_func` (runtime2.go), the same from 1.19 to 1.27.
const PC_FILE: u64 = 20;
const PC_LINE: u64 = 24;
const UNIT: u64 = 32;

/// The longest path that Linux knows.
const LONGEST_PATH: usize = 4096;
/// Most tables are shorter, and reading less is faster.
const USUAL_TABLE: usize = 2 << 10;

/// The part of a program's table of functions that is about lines: `cutab`, `filetab` and `pctab` of
/// the `moduledata` (symtab.go).
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub(super) memory: &'a Memory,
    pub(super) units: Address,
    pub(super) files: Address,
    pub(super) pc_table: Address,
}

impl Lines<'_> {
    /// The file and the line at so many bytes of the function whose `_func` lies there.
    pub(super) fn at(&self, about: Address, offset: u64) -> Option<(String, u32)> {
        let line = u32::try_from(self.value(about + PC_LINE, offset)?).ok()?;
        let number = u64::try_from(self.value(about + PC_FILE, offset)?).ok()?;
        let unit = u64::from(self.memory.u32(about + UNIT).ok()?);
        let file = self.memory.u32(self.units + unit.wrapping_add(number).wrapping_mul(4)).ok()?;
        let file = self.memory.c_string(self.files + u64::from(file), LONGEST_PATH).ok()?;
        Some((escape::name(file.as_bytes()), line))
    }

    fn value(&self, at: Address, offset: u64) -> Option<i64> {
        let table = self.pc_table + u64::from(self.memory.u32(at).ok()?);
        [USUAL_TABLE, LONGEST_TABLE]
            .iter()
            .find_map(|length| value(&self.memory.up_to(table, *length).ok()?, offset))
    }
}
