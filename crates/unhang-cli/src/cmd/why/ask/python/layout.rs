//! What each version of Python looks like in memory.

use super::super::memory::{Address, Memory};
use super::lines::{Format, LineTable};

/// Offsets in `_PyRuntimeState`, `PyInterpreterState`, `PyThreadState`, the frame, `PyCodeObject`,
/// `str` and `bytes`. 3.8 to 3.12 as a C program prints them that is compiled with each version's
/// headers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    /// In `_PyRuntime`: the first interpreter.
    pub(super) interpreters: u64,
    pub(super) next_interpreter: u64,
    pub(super) first_thread: u64,
    pub(super) next_thread: u64,
    pub(super) native: Native,
    pub(super) current: Current,
    /// In the frame: its code, its caller.
    pub(super) code: u64,
    pub(super) previous: u64,
    /// In the frame: `owner`, and from which value on the frame is none of a script.
    pub(super) owner: Option<(u64, u8)>,
    pub(super) instruction: Instruction,
    pub(super) lines: LineTable,
    pub(super) code_object: CodeObject,
    pub(super) text: Text,
    pub(super) bytes: BytesObject,
}

/// Which thread of the kernel's it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Native {
    /// `native_thread_id`.
    Stored(u64),
    /// `thread_id`, which is `pthread_self()`.
    Pthread(u64),
}

/// Where glibc has the kernel's number in its own record of a thread: `struct pthread` (nptl/descr.h)
/// on x86-64, unchanged since 2.4. Checked against the process's real threads.
pub(super) const GLIBC_TID: u64 = 720;

/// How a thread leads to its innermost frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Current {
    Direct(u64),
    /// By way of a `_PyCFrame`.
    InCFrame {
        at: u64,
        frame: u64,
    },
}

/// How a frame tells which instruction it is at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Instruction {
    /// `f_lasti`: -1 before the first, else the number of the last, in units of so many bytes.
    Index { at: u64, unit: u32 },
    /// A pointer into the code, which begins at so many bytes of the code object.
    Pointer { at: u64, code: u64 },
}

impl Instruction {
    /// How many bytes into the code; `None` before its first.
    pub(super) fn of(
        self,
        memory: &Memory,
        frame: Address,
        code_object: Address,
    ) -> Result<Option<u32>, String> {
        match self {
            Self::Index { at, unit } => {
                let index = i32::from_le_bytes(memory.u32(frame + at)?.to_le_bytes());
                Ok(u32::try_from(index).ok().map(|index| index.saturating_mul(unit)))
            }
            Self::Pointer { at, code } => {
                let start = code_object + code;
                let offset = memory.u64(frame + at)?.wrapping_sub(start.0);
                // Before 3.13 it stands one instruction before the first one until that is run.
                Ok(u32::try_from(offset).ok())
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CodeObject {
    pub(super) file: u64,
    /// `co_qualname`, and before 3.11 `co_name`.
    pub(super) name: u64,
    pub(super) first_line: u64,
    pub(super) lines: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Text {
    pub(super) length: u64,
    pub(super) state: u64,
    /// How many bits of `state` lie below `kind`: if several can be, the first with which it makes sense.
    pub(super) kind_shifts: &'static [u32],
    /// `sizeof(PyASCIIObject)` and `sizeof(PyCompactUnicodeObject)`.
    pub(super) ascii_size: u64,
    pub(super) compact_size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BytesObject {
    pub(super) size: u64,
    pub(super) data: u64,
}

const BYTES: BytesObject = BytesObject { size: 16, data: 32 };

const PYTHON_3_9: Layout = Layout {
    interpreters: 32,
    next_interpreter: 0,
    first_thread: 8,
    next_thread: 8,
    native: Native::Pthread(176),
    current: Current::Direct(24),
    code: 32,
    previous: 24,
    owner: None,
    instruction: Instruction::Index { at: 104, unit: 1 },
    lines: LineTable(Format::Lnotab),
    code_object: CodeObject { file: 104, name: 112, first_line: 40, lines: 120 },
    text: Text { length: 16, state: 32, kind_shifts: &[2], ascii_size: 48, compact_size: 72 },
    bytes: BYTES,
};
const PYTHON_3_10: Layout = Layout {
    instruction: Instruction::Index { at: 96, unit: 2 },
    lines: LineTable(Format::Ranges),
    ..PYTHON_3_9
};
const PYTHON_3_11: Layout = Layout {
    interpreters: 40,
    first_thread: 16,
    native: Native::Stored(160),
    current: Current::InCFrame { at: 56, frame: 8 },
    code: 32,
    previous: 48,
    owner: Some((69, 3)),
    instruction: Instruction::Pointer { at: 56, code: 184 },
    lines: LineTable(Format::Locations),
    code_object: CodeObject { file: 112, name: 128, first_line: 72, lines: 136 },
    ..PYTHON_3_9
};
const PYTHON_3_12: Layout = Layout {
    first_thread: 72,
    native: Native::Stored(144),
    current: Current::InCFrame { at: 56, frame: 0 },
    code: 0,
    previous: 8,
    owner: Some((70, 3)),
    instruction: Instruction::Pointer { at: 56, code: 192 },
    code_object: CodeObject { file: 112, name: 128, first_line: 68, lines: 136 },
    text: Text { length: 16, state: 32, kind_shifts: &[2], ascii_size: 40, compact_size: 56 },
    ..PYTHON_3_11
};

/// What a `_Py_DebugOffsets` begins with.
const COOKIE: &[u8; 8] = b"xdebugpy";
/// No structure of Python's is larger; offsets beyond it are garbled.
const LARGEST: u64 = 1 << 20;

impl Layout {
    /// The layout of the interpreter whose `_PyRuntime` lies there: as it tells itself, or as is known
    /// of the version that its file tells, in the form of `PY_VERSION_HEX`.
    pub(super) fn find(
        memory: &Memory,
        runtime: Address,
        told: Option<u32>,
    ) -> Result<Self, String> {
        let words = memory.bytes(runtime, 8 * 96)?;
        if words.starts_with(COOKIE) {
            let words: Vec<u64> = words
                .chunks_exact(8)
                .filter_map(|word| word.try_into().ok())
                .map(u64::from_le_bytes)
                .collect();
            return Self::of_offsets(&words);
        }
        match told.map(|version| (version >> 24, version >> 16 & 0xff)) {
            // 3.8 differs from 3.9 in none of this.
            Some((3, 8 | 9)) => Ok(PYTHON_3_9),
            Some((3, 10)) => Ok(PYTHON_3_10),
            Some((3, 11)) => Ok(PYTHON_3_11),
            Some((3, 12)) => Ok(PYTHON_3_12),
            Some((major, minor)) => Err(unknown(major, minor)),
            None => Err("it does not tell Python's version".to_owned()),
        }
    }

    /// From the words of a `_Py_DebugOffsets`: 3.14 put some more in between.
    fn of_offsets(words: &[u64]) -> Result<Self, String> {
        const FREE_THREADED: usize = 2;
        let word = |at: usize| words.get(at).copied().unwrap_or(u64::MAX);
        let version = u32::try_from(word(1)).unwrap_or(0);
        let (major, minor) = (version >> 24, version >> 16 & 0xff);
        // At which word the thread's part begins, the frame's, the code's and that of `bytes`.
        let (thread, frame, code, bytes) = match (major, minor) {
            (3, 13) => (19, 28, 34, 64),
            (3, 14) => (22, 31, 39, 74),
            _ => return Err(unknown(major, minor)),
        };
        if word(FREE_THREADED) != 0 {
            return Err(format!(
                "the layout of a free-threaded Python {major}.{minor} is not known to this version"
            ));
        }
        let text = bytes + 3;
        // These have been the same for years: others say that the words mean something else here.
        if [word(bytes + 2), word(text + 1), word(text + 2), word(text + 3)] != [32, 32, 16, 40] {
            return Err(format!("Python {major}.{minor} does not tell its layout in a known way"));
        }
        let at = [5, 8, 9, thread + 2, thread + 4, thread + 6, frame + 1, frame + 2, frame + 3]
            .into_iter()
            .chain([frame + 5, code + 1, code + 3, code + 4, code + 5, code + 9, bytes + 1]);
        if let Some(odd) = at.map(word).find(|offset| *offset >= LARGEST) {
            return Err(format!("Python tells an offset of {odd}, which none can be"));
        }
        Ok(Self {
            interpreters: word(5),
            next_interpreter: word(8),
            first_thread: word(9),
            next_thread: word(thread + 2),
            current: Current::Direct(word(thread + 4)),
            native: Native::Stored(word(thread + 6)),
            previous: word(frame + 1),
            code: word(frame + 2),
            instruction: Instruction::Pointer { at: word(frame + 3), code: word(code + 9) },
            // `FRAME_OWNED_BY_CSTACK` in 3.13, `FRAME_OWNED_BY_INTERPRETER` and that in 3.14.
            owner: Some((word(frame + 5), 3)),
            lines: LineTable(Format::Locations),
            code_object: CodeObject {
                file: word(code + 1),
                name: word(code + 3),
                lines: word(code + 4),
                first_line: word(code + 5),
            },
            bytes: BytesObject { size: word(bytes + 1), data: word(bytes + 2) },
            text: Text {
                state: word(text + 1),
                length: word(text + 2),
                ascii_size: word(text + 3),
                // `utf8_length` and `utf8` follow.
                compact_size: word(text + 3) + 16,
                // `interned` has two bits in 3.13 and in 3.14.10, and sixteen in the first 3.14: then the five above
                // those two are 0, which no `kind` is.
                kind_shifts: if minor == 13 { &[2] } else { &[2, 16] },
            },
        })
    }
}

fn unknown(major: u32, minor: u32) -> String {
    format!("Python {major}.{minor}'s layout is not known to this version")
}
