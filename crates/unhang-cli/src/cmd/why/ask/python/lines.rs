//! Which line of its file an instruction is of: each version of Python keeps another table.

/// How a table is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LineTable(pub(super) Format);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format {
    /// To 3.9, `co_lnotab`: by how many bytes, then by how many lines (`Objects/lnotab_notes.txt`).
    Lnotab,
    /// 3.10, `co_linetable`: how many bytes, and by how many lines the line of these differs.
    Ranges,
    /// From 3.11 on, `co_linetable`: `Objects/locations.md`.
    Locations,
}

/// A line that is none: `-128` in 3.10.
const NO_LINE: i8 = -128;

impl LineTable {
    /// The line of the instruction at so many bytes; `None` if it is of none.
    pub(super) fn line(self, table: &[u8], first: u32, offset: u32) -> Option<u32> {
        match self.0 {
            Format::Lnotab => lnotab(table, first, offset),
            Format::Ranges => ranges(table, first, offset),
            Format::Locations => locations(table, first, offset),
        }
    }
}

fn lnotab(table: &[u8], first: u32, offset: u32) -> Option<u32> {
    let (mut line, mut at) = (i64::from(first), 0_u32);
    for pair in table.chunks_exact(2) {
        at = at.saturating_add(u32::from(pair[0]));
        if at > offset {
            break;
        }
        line += i64::from(i8::from_le_bytes([pair[1]]));
    }
    u32::try_from(line).ok()
}

fn ranges(table: &[u8], first: u32, offset: u32) -> Option<u32> {
    let (mut line, mut end) = (i64::from(first), 0_u32);
    for pair in table.chunks_exact(2) {
        let delta = i8::from_le_bytes([pair[1]]);
        if delta != NO_LINE {
            line += i64::from(delta);
        }
        end = end.saturating_add(u32::from(pair[0]));
        if end > offset {
            return (delta != NO_LINE).then(|| u32::try_from(line).ok()).flatten();
        }
    }
    None
}

fn locations(table: &[u8], first: u32, offset: u32) -> Option<u32> {
    let mut bytes = table.iter().copied();
    let (mut line, mut end) = (i64::from(first), 0_u32);
    while let Some(head) = bytes.next() {
        let kind = head >> 3 & 15;
        let mut is_known = true;
        match kind {
            // Short forms: the same line, one byte about columns.
            0..=9 => skip(&mut bytes, 1)?,
            10..=12 => {
                line += i64::from(kind) - 10;
                skip(&mut bytes, 2)?;
            }
            13 => line += signed(&mut bytes)?,
            14 => {
                line += signed(&mut bytes)?;
                for _ in 0..3 {
                    varint(&mut bytes)?;
                }
            }
            _ => is_known = false,
        }
        // In units of two bytes.
        end = end.saturating_add((u32::from(head & 7) + 1) * 2);
        if end > offset {
            return is_known.then(|| u32::try_from(line).ok()).flatten();
        }
    }
    None
}

fn skip(bytes: &mut impl Iterator<Item = u8>, count: usize) -> Option<()> {
    bytes.nth(count - 1).map(|_| ())
}

/// Six bits a byte, the lowest first, until a byte without the seventh bit.
fn varint(bytes: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut number = 0_u32;
    for shift in (0..32).step_by(6) {
        let byte = bytes.next()?;
        number |= u32::from(byte & 0x3f) << shift;
        if byte & 0x40 == 0 {
            return Some(number);
        }
    }
    None
}

/// The sign is its lowest bit.
fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let number = varint(bytes)?;
    let size = i64::from(number >> 1);
    Some(if number & 1 == 1 { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Format, table: &[u8], offset: u32) -> Option<u32> {
        LineTable(format).line(table, 10, offset)
    }

    #[test]
    fn each_table_tells_the_line_of_each_instruction() {
        // Two bytes of line 10, four of 12, then 11.
        let lnotab = [2, 2, 4, 0xff];
        for (offset, expected) in [(0, 10), (1, 10), (2, 12), (5, 12), (6, 11), (900, 11)] {
            assert_eq!(line(Format::Lnotab, &lnotab, offset), Some(expected), "{offset}");
        }
        // Two bytes of line 10, two of none, two of 12, two of 9.
        let ranges = [2, 0, 2, 0x80, 2, 2, 2, 0xfd];
        for (offset, expected) in [(0, Some(10)), (2, None), (4, Some(12)), (6, Some(9)), (8, None)]
        {
            assert_eq!(line(Format::Ranges, &ranges, offset), expected, "{offset}");
        }
        // Line 10 short, one line on, none, two lines back by the long form, 80 on without columns.
        let locations = [
            0x80,
            0x12,
            0x80 | 11 << 3 | 1,
            1,
            2,
            0x80 | 15 << 3,
            0x80 | 14 << 3,
            5,
            1,
            2,
            3,
            0x80 | 13 << 3,
            0x60,
            2,
        ];
        for (offset, expected) in [
            (0, Some(10)),
            (2, Some(11)),
            (5, Some(11)),
            (6, None),
            (8, Some(9)),
            (10, Some(9 + 80)),
            (12, None),
        ] {
            assert_eq!(line(Format::Locations, &locations, offset), expected, "{offset}");
        }
    }

    #[test]
    fn a_cut_or_garbled_table_gives_no_line_and_no_panic() {
        for format in [Format::Lnotab, Format::Ranges, Format::Locations] {
            for byte in 0..=255_u8 {
                for length in 0..20 {
                    line(format, &vec![byte; length], u32::MAX);
                    line(format, &vec![byte; length], 7);
                }
            }
        }
    }
}
