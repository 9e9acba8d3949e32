//! Which functions the compiler has put into others: they have no frames of their own, but are what
//! the source says. The table of functions knows them, for Go's own stack traces.

use super::super::memory::{Address, Memory};
use super::layout::{Inlining, LONGEST_NAME};

/// Offsets in `_func` (runtime2.go), the same from 1.19 to 1.27. Behind it lie so many words of
/// `pcdata`, and then `funcdata`, whose number is its last byte.
const PC_DATA_COUNT: u64 = 28;
/// `PCDATA_InlTreeIndex` and `FUNCDATA_InlTree` (internal/abi/symtab.go).
const INDEX: u32 = 2;
const TREE: u8 = 3;
/// There are five kinds of `pcdata` so far. More than so many are none.
const MOST_PC_DATA: u32 = 32;

/// How deep the compiler puts functions into each other, at most.
const DEEPEST: usize = 32;
/// How much of a function's table is read. Larger ones are of functions of many thousand lines.
pub(super) const LONGEST_TABLE: usize = 64 << 10;

/// The part of a program's table of functions that is about inlined ones.
pub(super) struct Inlined<'a> {
    pub(super) memory: &'a Memory,
    pub(super) names: Address,
    /// `pctab` and `gofunc` of the `moduledata` (symtab.go).
    pub(super) pc_table: Address,
    pub(super) tree: Address,
    pub(super) shape: Inlining,
}

impl Inlined<'_> {
    /// The inlined functions at an address of a function, innermost first, each with how many bytes
    /// into the function it is called. `about` is its `_func`.
    pub(super) fn at(
        &self,
        about: Address,
        entry: Address,
        pc: Address,
    ) -> Result<Vec<(String, u64)>, String> {
        let data = about + self.shape.func_size;
        let pc_data = self.memory.u32(about + PC_DATA_COUNT)?;
        let func_data = self.memory.u8(about + (self.shape.func_size - 1))?;
        if !(INDEX + 1..MOST_PC_DATA).contains(&pc_data) || func_data <= TREE {
            return Ok(Vec::new());
        }
        let table = self.memory.u32(data + u64::from(INDEX) * 4)?;
        let tree = self.memory.u32(data + u64::from(pc_data) * 4 + u64::from(TREE) * 4)?;
        if table == 0 || tree == u32::MAX {
            return Ok(Vec::new());
        }
        let table = self.memory.up_to(self.pc_table + u64::from(table), LONGEST_TABLE)?;
        let tree = self.tree + u64::from(tree);
        let mut offset = pc.0.wrapping_sub(entry.0);
        let mut names = Vec::new();
        while names.len() < DEEPEST {
            let Some(index) = value(&table, offset).and_then(|index| u64::try_from(index).ok())
            else {
                break;
            };
            let call = tree + index * self.shape.call_size;
            let name = self.names + u64::from(self.memory.u32(call + self.shape.name)?);
            let name = self.memory.c_string(name, LONGEST_NAME)?;
            offset = u64::from(self.memory.u32(call + self.shape.parent_pc)?);
            names.push((name, offset));
        }
        Ok(names)
    }
}

/// What a table of values by address has for so many bytes into the function: pairs of by how much
/// the value changes, the sign in its lowest bit, and for how many bytes it then holds (`step` in
/// symtab.go).
pub(super) fn value(table: &[u8], offset: u64) -> Option<i64> {
    let mut bytes = table.iter().copied();
    let (mut value, mut end) = (-1_i64, 0_u64);
    while end <= offset {
        let change = varint(&mut bytes)?;
        if change == 0 && end > 0 {
            return None;
        }
        value += i64::from(change >> 1) ^ -i64::from(change & 1);
        end += u64::from(varint(&mut bytes)?);
    }
    Some(value)
}

/// Seven bits a byte, the lowest first, until a byte without the highest bit.
fn varint(bytes: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut number = 0_u32;
    for shift in (0..32).step_by(7) {
        let byte = bytes.next()?;
        number |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_values_is_read_up_to_its_end() {
        // -1 for 3 bytes, 0 for 300, 2 for 1, -1 for 5, the end.
        let table = [0, 3, 2, 0xac, 2, 4, 1, 5, 5, 0, 9, 9];
        for (offset, expected) in
            [(0, -1), (2, -1), (3, 0), (302, 0), (303, 2), (304, -1), (308, -1)]
        {
            assert_eq!(value(&table, offset), Some(expected), "{offset}");
        }
        assert_eq!(value(&table, 309), None);
        assert_eq!(value(&table, u64::MAX), None);
        for end in 0..9 {
            assert_eq!(value(&table[..end], 305), None);
        }
        assert_eq!(value(&[0xff; 64], 0), None);
    }
}
