//! A thread-safe PHP (ZTS) has its globals once for each thread, in blocks that only a table of its
//! own leads to (TSRM/TSRM.c). The table is not exported; it is found by what it leads to.

use std::ops::Range;

use super::super::memory::{Address, Memory};

/// `tsrm_tls_entry`: `storage`, `count`, `thread_id`. Behind it lie the globals.
const COUNT: u64 = 8;
const THREAD: u64 = 16;
/// Where glibc has the kernel's number in its own record of a thread, to which `pthread_self()` leads.
const GLIBC_TID: u64 = 720;

/// How many kinds of globals there are: PHP alone has some twenty, its extensions one each.
const KINDS: Range<u32> = 1..1_024;
/// As many entries of the table are looked at: one for each thread that a server was told to expect.
const MOST_ENTRIES: usize = 64;
/// PHP's own variables fill less.
const MOST_SEARCHED: u64 = 1 << 20;

/// A thread's block of globals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) thread: u32,
    pub(super) globals: Address,
}

/// The blocks of all threads that the table leads to directly.
pub(super) fn blocks(
    memory: &Memory,
    variables: &[Range<Address>],
    threads: &[u32],
) -> Result<Vec<Block>, String> {
    for part in variables {
        let size = part.end.0.saturating_sub(part.start.0).min(MOST_SEARCHED);
        let bytes = memory.up_to(part.start, usize::try_from(size).unwrap_or(0))?;
        for word in words(&bytes).filter(|word| is_likely_pointer(*word)) {
            let table = memory.up_to(Address(word), MOST_ENTRIES * 8).unwrap_or_default();
            let entries = words(&table).filter(|entry| is_likely_pointer(*entry));
            let found: Vec<_> =
                entries.filter_map(|entry| block(memory, Address(entry), threads)).collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
    Err("the threads of its thread-safe (ZTS) PHP were not found".to_owned())
}

fn block(memory: &Memory, entry: Address, threads: &[u32]) -> Option<Block> {
    if !KINDS.contains(&memory.u32(entry + COUNT).ok()?) {
        return None;
    }
    let record = Address(memory.u64(entry + THREAD).ok()?);
    let thread = memory.u32(record + GLIBC_TID).ok()?;
    threads.contains(&thread).then_some(Block { thread, globals: entry })
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).filter_map(|word| word.try_into().ok()).map(u64::from_le_bytes)
}

/// What lies in a program's own half of all addresses, and not at its very beginning.
fn is_likely_pointer(word: u64) -> bool {
    word % 8 == 0 && (0x1_0000..1 << 47).contains(&word)
}
