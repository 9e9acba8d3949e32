//! PHP: which line of which script runs. The structures are named as in php-src's Zend/; their
//! offsets are those of an x86-64 build that is neither thread-safe nor for debugging.

#[cfg(test)]
mod tests;

use super::elf::Image;
use super::location::Location;
use super::memory::{Address, Memory, steady};

/// Offsets in `zend_op_array` (`zend_compile.h`), which nearly every minor version changes.
#[derive(Clone, Copy)]
struct Layout {
    last_var: u64,
    last: u64,
    opcodes: u64,
    vars: u64,
    filename: u64,
}

/// `ZEND_MODULE_API_NO` (`zend_modules.h`), one for each minor version, and its layout. 8.2 and 8.4
/// are checked against their headers and by the tests, 8.1 and 8.3 against their headers only.
const LAYOUTS: &[(u32, Layout)] = &[
    // 8.1
    (20_210_902, Layout { last_var: 60, last: 68, opcodes: 72, vars: 104, filename: 144 }),
    // 8.2
    (20_220_829, Layout { last_var: 76, last: 80, opcodes: 88, vars: 112, filename: 152 }),
    // 8.3
    (20_230_831, Layout { last_var: 72, last: 76, opcodes: 80, vars: 104, filename: 144 }),
    // 8.4
    (20_240_924, Layout { last_var: 92, last: 96, opcodes: 104, vars: 128, filename: 168 }),
];

// The rest is the same from 8.1 to 8.4.

/// `zend_executor_globals` (`zend_globals.h`).
const CURRENT_EXECUTE_DATA: u64 = 488;

/// `zend_execute_data` (`zend_compile.h`).
mod execute_data {
    pub(super) const OPLINE: u64 = 0;
    pub(super) const FUNC: u64 = 24;
    pub(super) const PREV: u64 = 48;
    /// `ZEND_CALL_FRAME_SLOT`: behind the structure follow the function's variables.
    pub(super) const VARIABLES: u64 = 80;
}

/// `zend_op` (`zend_compile.h`).
mod op {
    pub(super) const LINENO: u64 = 24;
    pub(super) const SIZE: u64 = 32;
}

/// What all kinds of `zend_function` (`zend_compile.h`) begin with.
mod function {
    pub(super) const TYPE: u64 = 0;
    pub(super) const NAME: u64 = 8;
    pub(super) const SCOPE: u64 = 16;
    /// `ZEND_INTERNAL_FUNCTION`, `ZEND_USER_FUNCTION`, `ZEND_EVAL_CODE`.
    pub(super) const INTERNAL: u8 = 1;
    pub(super) const USER: u8 = 2;
    pub(super) const EVAL: u8 = 4;
}

/// `zend_class_entry` (`zend.h`).
const CLASS_NAME: u64 = 8;

/// `zval` and what it refers to (`zend_types.h`).
mod value {
    pub(super) const SIZE: u64 = 16;
    pub(super) const TYPE: u64 = 8;
    /// `IS_STRING`, `IS_REFERENCE`.
    pub(super) const STRING: u8 = 6;
    pub(super) const REFERENCE: u8 = 10;
    /// In a `zend_reference`.
    pub(super) const REFERRED: u64 = 8;
}

/// `zend_string` (`zend_types.h`).
mod string {
    /// The low four bits of `gc.u.type_info` are the type.
    pub(super) const TYPE: u64 = 4;
    pub(super) const LENGTH: u64 = 16;
    pub(super) const BYTES: u64 = 24;
}

/// `module_registry`, a `HashTable` (`zend_types.h`) of `zend_module_entry` (`zend_modules.h`).
mod module {
    /// In the table: its `Bucket`s, which begin with the pointer to the entry, and their number.
    pub(super) const BUCKETS: u64 = 16;
    pub(super) const USED: u64 = 24;
    /// In the entry.
    pub(super) const SIZE: u64 = 0;
    pub(super) const API: u64 = 4;
    pub(super) const DEBUG: u64 = 8;
    pub(super) const ZTS: u64 = 9;
    pub(super) const NAME: u64 = 32;
    pub(super) const VERSION: u64 = 88;
    /// `sizeof(zend_module_entry)`, which the entry itself tells.
    pub(super) const EXPECTED_SIZE: u32 = 168;
}

/// Built-in functions call back into scripts, but no innermost call lies deeper than a few frames.
const MOST_FRAMES: usize = 64;
/// The longest path that Linux knows.
const LONGEST_PATH: u64 = 4096;
/// Names of functions, classes and variables. Longer ones are only made by programs.
const LONGEST_NAME: u64 = 512;
/// How many variables are looked at.
const MOST_VARIABLES: u32 = 128;
/// How much of a variable is shown: the first lines of a reply tell it from others.
const SHOWN: usize = 200;

/// Finds the line of the script that the process runs, or says why it is not known. `None`: not PHP.
pub(crate) fn where_is(pid: u32, show_data: bool) -> Result<Option<Location>, String> {
    let memory = Memory::open(pid)?;
    let Some(image) = interpreter(pid, &memory)? else { return Ok(None) };
    let Some(globals) = image.exported("executor_globals")? else {
        // ZTS: each thread has its own, and the file exports only how to find it.
        return Err("the layout of a thread-safe (ZTS) PHP is not known to this version".to_owned());
    };
    if !image.is_x86_64()? {
        return Err("PHP's layout on this processor is not known to this version".to_owned());
    }
    let registry = image.exported("module_registry")?.ok_or("it does not tell PHP's version")?;
    let layout = layout(&memory, registry)?;
    let php = Php { memory, globals, layout };
    steady(|| php.running(show_data)).map(Some)
}

/// The file that has PHP in it: the program itself, or the library of `mod_php` and other hosts.
fn interpreter(pid: u32, memory: &Memory) -> Result<Option<Image>, String> {
    let is_php = |image: &Image| -> Result<bool, String> {
        Ok(image.exported("executor_globals")?.is_some()
            || image.exported("executor_globals_offset")?.is_some())
    };
    let program = Image::of_program(pid, memory)?;
    if is_php(&program)? {
        return Ok(Some(program));
    }
    let library = memory.mappings().iter().find(|mapping| {
        let name = mapping.path.rsplit('/').next().unwrap_or_default();
        name.starts_with("libphp") && name.contains(".so")
    });
    let Some(library) = library else { return Ok(None) };
    let library = Image::of_library(pid, library, memory)?;
    Ok(is_php(&library)?.then_some(library))
}

/// The first module that is registered is always PHP's core, which tells the version of both.
fn layout(memory: &Memory, registry: Address) -> Result<Layout, String> {
    if memory.u32(registry + module::USED)? == 0 {
        return Err("PHP has not started yet".to_owned());
    }
    let core = memory.follow(memory.follow(registry + module::BUCKETS)?)?;
    let size = memory.u32(core + module::SIZE)? & 0xffff;
    let name = memory.follow_text(core + module::NAME)?;
    if size != module::EXPECTED_SIZE || name != "Core" {
        return Err("it does not tell PHP's version in a known way".to_owned());
    }
    let version = memory.follow_text(core + module::VERSION)?;
    if memory.u8(core + module::ZTS)? != 0 || memory.u8(core + module::DEBUG)? != 0 {
        return Err(format!(
            "the layout of PHP {version} built thread-safe or for debugging is not known to this version"
        ));
    }
    let api = memory.u32(core + module::API)?;
    let layout = LAYOUTS.iter().find(|(known, _)| *known == api);
    let layout = layout.ok_or_else(|| {
        let minor = version.rsplit_once('.').map_or(&*version, |(minor, _)| minor);
        format!("PHP {minor}'s layout is not known to this version")
    })?;
    Ok(layout.1)
}

/// A process that runs PHP.
struct Php {
    memory: Memory,
    globals: Address,
    layout: Layout,
}

impl Php {
    fn running(&self, show_data: bool) -> Result<Location, String> {
        let innermost = self.memory.pointer(self.globals + CURRENT_EXECUTE_DATA)?;
        let innermost = innermost.ok_or("PHP runs no script at the moment")?;
        let mut built_in = None;
        let mut frame = innermost;
        for _ in 0..MOST_FRAMES {
            // Frames without a function are only bookkeeping, as a generator's.
            if let Some(function) = self.memory.pointer(frame + execute_data::FUNC)? {
                match self.memory.u8(function + function::TYPE)? {
                    function::USER | function::EVAL => {
                        let found = self.place(frame, function, built_in, show_data)?;
                        return self.unmoved(innermost, found);
                    }
                    function::INTERNAL if built_in.is_none() => built_in = self.name(function)?,
                    function::INTERNAL => {}
                    other => return Err(format!("PHP has no function of type {other}")),
                }
            }
            frame = self.memory.follow(frame + execute_data::PREV)?;
        }
        Err(format!("its innermost {MOST_FRAMES} calls are all in PHP itself"))
    }

    /// A script that has gone on meanwhile was perhaps seen half here and half there.
    fn unmoved(&self, innermost: Address, found: Location) -> Result<Location, String> {
        let now = self.memory.pointer(self.globals + CURRENT_EXECUTE_DATA)?;
        (now == Some(innermost)).then_some(found).ok_or_else(|| "the script is running".to_owned())
    }

    fn place(
        &self,
        frame: Address,
        function: Address,
        built_in: Option<String>,
        show_data: bool,
    ) -> Result<Location, String> {
        let file = self.memory.follow(function + self.layout.filename)?;
        let name = match built_in {
            Some(name) => Some(name),
            None => self.name(function)?,
        };
        Ok(Location {
            language: "PHP",
            file: self.text(file, LONGEST_PATH)?,
            line: self.line(frame, function)?,
            function: name.unwrap_or_else(|| "{main}".to_owned()),
            variables: if show_data { self.variables(frame, function)? } else { Vec::new() },
        })
    }

    /// `None` where the instruction is not the function's own. PHP notes it before whatever may
    /// wait or fail, but a loop of plain arithmetic has perhaps noted nothing yet.
    fn line(&self, frame: Address, function: Address) -> Result<Option<u32>, String> {
        let opcodes = self.memory.follow(function + self.layout.opcodes)?;
        let count = self.memory.u32(function + self.layout.last)?;
        let opline = self.memory.u64(frame + execute_data::OPLINE)?;
        let offset = opline.wrapping_sub(opcodes.0);
        if offset % op::SIZE != 0 || offset / op::SIZE >= u64::from(count) {
            return Ok(None);
        }
        self.memory.u32(Address(opline) + op::LINENO).map(Some)
    }

    /// A function's name with its class. `None` for the code outside of functions.
    fn name(&self, function: Address) -> Result<Option<String>, String> {
        let Some(name) = self.memory.pointer(function + function::NAME)? else { return Ok(None) };
        let name = self.text(name, LONGEST_NAME)?;
        let Some(class) = self.memory.pointer(function + function::SCOPE)? else {
            return Ok(Some(name));
        };
        let class = self.text(self.memory.follow(class + CLASS_NAME)?, LONGEST_NAME)?;
        Ok(Some(format!("{class}::{name}")))
    }

    fn variables(
        &self,
        frame: Address,
        function: Address,
    ) -> Result<Vec<(String, String)>, String> {
        let count = self.memory.u32(function + self.layout.last_var)?.min(MOST_VARIABLES);
        let mut variables = Vec::new();
        for index in 0..u64::from(count) {
            let mut value = frame + execute_data::VARIABLES + index * value::SIZE;
            if self.memory.u8(value + value::TYPE)? == value::REFERENCE {
                value = self.memory.follow(value)? + value::REFERRED;
            }
            if self.memory.u8(value + value::TYPE)? == value::STRING {
                let names = self.memory.follow(function + self.layout.vars)?;
                let name = self.text(self.memory.follow(names + index * 8)?, LONGEST_NAME)?;
                let content = self.beginning(self.memory.follow(value)?)?;
                variables.push((format!("${name}"), content));
            }
        }
        Ok(variables)
    }

    /// A whole string, which must end as all of PHP's do.
    fn text(&self, string: Address, longest: u64) -> Result<String, String> {
        let length = self.length(string)?;
        if length > longest {
            return Err(format!("{length} bytes are too long for a name"));
        }
        let mut bytes = self.memory.bytes(string + string::BYTES, to_usize(length) + 1)?;
        match bytes.pop() {
            Some(0) => Ok(escape(&bytes)),
            _ => Err("a string of PHP's does not end with NUL".to_owned()),
        }
    }

    /// As much of a string as is shown.
    fn beginning(&self, string: Address) -> Result<String, String> {
        let length = self.length(string)?;
        let shown = to_usize(length).min(SHOWN);
        let content = escape(&self.memory.bytes(string + string::BYTES, shown)?);
        Ok(if shown as u64 == length { content } else { format!("{content}… ({length} bytes)") })
    }

    fn length(&self, string: Address) -> Result<u64, String> {
        let kind = self.memory.u32(string + string::TYPE)? & 0xf;
        if kind != u32::from(value::STRING) {
            return Err(format!("what should be a string of PHP's at {string} is not"));
        }
        self.memory.u64(string + string::LENGTH)
    }
}

/// All escaped that could harm a terminal or hide where the text ends.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\'' => text.push('\''),
                other => text.extend(other.escape_debug()),
            }
        }
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    text
}

fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
