//! Python: which line of which function each thread is at. The structures are named as in `CPython`'s
//! `Include/`; from 3.13 on the interpreter tells their offsets itself (`_Py_DebugOffsets`), before
//! that they are the same for all builds of a minor version that are not for debugging.

mod layout;
mod lines;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::elf::Image;
use super::escape;
use super::location::{Frame, Location};
use super::memory::{Address, Memory, steady};
use layout::{Current, Layout, Native};

/// More than any interpreter is asked for: a list that a torn pointer closed to a ring ends here.
const MOST_INTERPRETERS: usize = 64;
const MOST_THREADS: usize = 1024;
/// Python itself stops at 1,000 unless told otherwise; a headline is found near the top.
const MOST_FRAMES: usize = 128;
/// A function of 10,000 lines has a table of some 100 KB.
const LONGEST_TABLE: usize = 256 << 10;
/// The longest path that Linux knows, and names of functions.
const LONGEST_TEXT: u64 = 4096;

const RUNS: &str = "the thread is running";

/// Where each of its threads is that runs Python, or why that is not known. `threads` are the
/// kernel's numbers of the process's threads: whatever else claims to be one is none.
pub(super) fn locations(
    memory: &Memory,
    image: &Image,
    runtime: Address,
    told: Option<u32>,
    threads: &[u32],
) -> Result<Vec<Location>, String> {
    if !image.is_x86_64() {
        return Err("Python's layout on this processor is not known to this version".to_owned());
    }
    let layout = Layout::find(memory, runtime, told)?;
    let python = Python { memory, layout, codes: HashMap::new() };
    python.threads(runtime, threads)
}

struct Python<'a> {
    memory: &'a Memory,
    layout: Layout,
    codes: HashMap<Address, Code>,
}

/// What is the same for all calls of one function.
#[derive(Clone)]
struct Code {
    file: String,
    function: String,
    first_line: u32,
    lines: Vec<u8>,
}

impl Python<'_> {
    fn threads(mut self, runtime: Address, known: &[u32]) -> Result<Vec<Location>, String> {
        let (memory, layout) = (self.memory, self.layout);
        let mut found = Vec::new();
        let mut interpreter = memory.pointer(runtime + layout.interpreters)?;
        for _ in 0..MOST_INTERPRETERS {
            let Some(this) = interpreter else { break };
            let mut thread = memory.pointer(this + layout.first_thread)?;
            for _ in 0..MOST_THREADS {
                let Some(state) = thread else { break };
                // One thread that moves on does not hide where the others stand.
                let place = steady(|| self.place(state, known));
                found.push(place);
                thread = memory.pointer(state + layout.next_thread)?;
            }
            interpreter = memory.pointer(this + layout.next_interpreter)?;
        }
        let first = found.iter().find_map(|place| place.as_ref().err().cloned());
        let places: Vec<_> = found.into_iter().filter_map(Result::ok).flatten().collect();
        match (places.is_empty(), first) {
            (true, Some(why)) => Err(why),
            (true, None) => Err("Python runs no code at the moment".to_owned()),
            (false, _) => Ok(places),
        }
    }

    /// `None`: the thread is in no Python code.
    fn place(&mut self, state: Address, known: &[u32]) -> Result<Option<Location>, String> {
        let thread = self.native(state, known)?;
        let innermost = self.innermost(state)?;
        let Some(first) = innermost else { return Ok(None) };
        let stack = self.twice(first)?;
        if self.innermost(state)? != innermost {
            return Err(RUNS.to_owned());
        }
        let own = stack.iter().find(|frame| !is_library(&frame.file));
        let is_library = own.is_none();
        Ok(own.or(stack.first()).cloned().map(|Frame { file, line, function }| Location {
            language: "Python".to_owned(),
            thread: Some(thread),
            file,
            line,
            function,
            is_library,
            stack,
            variables: Vec::new(),
            request: None,
        }))
    }

    /// The kernel's number of the thread.
    fn native(&self, state: Address, known: &[u32]) -> Result<u32, String> {
        let number = match self.layout.native {
            Native::Stored(at) => self.memory.u32(state + at)?,
            // Before 3.11 there is only `pthread_self()`: where glibc has its own record.
            Native::Pthread(at) => {
                let record = Address(self.memory.u64(state + at)?);
                self.memory.u32(record + layout::GLIBC_TID)?
            }
        };
        match known {
            // It is the only one, whatever its C library calls it.
            [only] => Ok(*only),
            _ if known.contains(&number) => Ok(number),
            _ => Err("which of its threads is which is not known".to_owned()),
        }
    }

    fn innermost(&self, state: Address) -> Result<Option<Address>, String> {
        match self.layout.current {
            Current::Direct(at) => self.memory.pointer(state + at),
            Current::InCFrame { at, frame } => match self.memory.pointer(state + at)? {
                Some(c_frame) => self.memory.pointer(c_frame + frame),
                None => Ok(None),
            },
        }
    }

    /// A thread that has gone on meanwhile was perhaps seen half here and half there; and the next function
    /// that it calls has its frame where the last one had.
    fn twice(&mut self, innermost: Address) -> Result<Vec<Frame>, String> {
        let stack = self.frames(innermost)?;
        let codes = std::mem::take(&mut self.codes);
        if self.frames(innermost)? != stack {
            self.codes.clear();
            return Err(RUNS.to_owned());
        }
        self.codes.extend(codes);
        Ok(stack)
    }

    fn frames(&mut self, innermost: Address) -> Result<Vec<Frame>, String> {
        let (memory, layout) = (self.memory, self.layout);
        let mut frames = Vec::new();
        let mut frame = Some(innermost);
        for _ in 0..MOST_FRAMES {
            let Some(this) = frame else { break };
            // The interpreter's own frames, between its loops, run no code of anybody's.
            let is_code = match layout.owner {
                Some((at, first_of_c)) => memory.u8(this + at)? < first_of_c,
                None => true,
            };
            if is_code {
                frames.push(self.frame(this)?);
            }
            frame = memory.pointer(this + layout.previous)?;
        }
        Ok(frames)
    }

    fn frame(&mut self, frame: Address) -> Result<Frame, String> {
        // The lowest bits of a reference are marks, from 3.14 on.
        let at = Address(self.memory.u64(frame + self.layout.code)? & !7);
        let code = if let Some(code) = self.codes.get(&at) {
            code.clone()
        } else {
            let code = self.code(at)?;
            self.codes.insert(at, code.clone());
            code
        };
        let line = match self.layout.instruction.of(self.memory, frame, at)? {
            // It has not begun yet.
            None => Some(code.first_line),
            Some(offset) => self.layout.lines.line(&code.lines, code.first_line, offset),
        };
        Ok(Frame { file: code.file, line, function: code.function })
    }

    fn code(&self, at: Address) -> Result<Code, String> {
        let of = self.layout.code_object;
        Ok(Code {
            file: self.text(self.memory.follow(at + of.file)?)?,
            function: self.text(self.memory.follow(at + of.name)?)?,
            first_line: self.memory.u32(at + of.first_line)?,
            lines: self.line_table(self.memory.follow(at + of.lines)?)?,
        })
    }

    /// A `bytes`.
    fn line_table(&self, at: Address) -> Result<Vec<u8>, String> {
        let size = self.memory.u64(at + self.layout.bytes.size)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= LONGEST_TABLE);
        let size = size.ok_or("a table of lines is too long to be one")?;
        self.memory.bytes(at + self.layout.bytes.data, size)
    }

    /// A `str`: characters of 1, 2 or 4 bytes, behind its header.
    fn text(&self, at: Address) -> Result<String, String> {
        let of = self.layout.text;
        let length = self.memory.u64(at + of.length)?;
        let state = self.memory.u32(at + of.state)?;
        let is_compact = |state: &u32| state & 8 != 0 && matches!(state & 7, 1 | 2 | 4);
        let state = of.kind_shifts.iter().map(|shift| state >> shift).find(is_compact);
        let Some(state) = state.filter(|_| length <= LONGEST_TEXT) else {
            return Err(format!("what should be a text of Python's at {at} is not"));
        };
        let (kind, is_ascii) = (state & 7, state & 16 != 0);
        let data = at + if is_ascii { of.ascii_size } else { of.compact_size };
        let bytes =
            self.memory.bytes(data, usize::try_from(length * u64::from(kind)).unwrap_or(0))?;
        let character = |bytes: &[u8]| {
            let number = bytes.iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
            // Half a pair of UTF-16 stands for a byte that is no text.
            char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)
        };
        let text: String = bytes.chunks(kind as usize).map(character).collect();
        Ok(escape::name(text.as_bytes()))
    }
}

/// Not what a user looks for whose program hangs: an installed package, Python's own
/// modules, and the script that only starts one, as `bin/gunicorn`.
fn is_library(path: &str) -> bool {
    let mut directories: Vec<&str> = path.split('/').collect();
    directories.pop();
    let is_of_python = |pair: &[&str]| matches!(pair, ["lib" | "lib64", version] if version.starts_with("python3."));
    path.starts_with("<frozen ")
        || directories.iter().any(|one| ["site-packages", "dist-packages"].contains(one))
        || directories.last().is_some_and(|last| ["bin", "sbin"].contains(last))
        || directories.windows(2).any(is_of_python)
}
