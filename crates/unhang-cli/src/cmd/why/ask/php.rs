//! PHP: which line of which script runs.

mod layout;
#[cfg(test)]
mod tests;
mod thread_safe;

use super::elf::Image;
use super::escape;
use super::location::{Frame, Location};
use super::memory::{Address, Memory, steady};
use layout::{CLASS_NAME, Layout, execute_data, function, op, request, string, value};

/// A script calls itself some hundred deep if it works on trees; a headline is found near the top.
const MOST_FRAMES: usize = 128;
/// The longest path that Linux knows.
const LONGEST_PATH: u64 = 4096;
/// Names of functions, classes and variables. Longer ones are only made by programs.
const LONGEST_NAME: u64 = 512;
/// A request is shown to tell one page from another.
const LONGEST_REQUEST: usize = 512;
/// How many variables are looked at.
const MOST_VARIABLES: u32 = 128;
/// How much of a variable is shown: the first lines of a reply tell it from others.
const SHOWN: usize = 200;

/// What a file with PHP in it exports.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exports {
    /// `executor_globals`, or in a thread-safe PHP `executor_globals_offset`.
    pub(super) globals: Option<Address>,
    pub(super) globals_offset: Option<Address>,
    /// `sapi_globals` and `sapi_globals_offset`.
    pub(super) sapi: Option<Address>,
    pub(super) sapi_offset: Option<Address>,
    /// `module_registry`.
    pub(super) registry: Option<Address>,
}

/// Finds the line of each script that the process runs, or says why it is not known. `threads` are
/// the kernel's numbers of the process's threads.
pub(super) fn locations(
    memory: &Memory,
    image: &Image,
    exports: Exports,
    threads: &[u32],
    show_data: bool,
) -> Result<Vec<Location>, String> {
    if !image.is_x86_64() {
        return Err("PHP's layout on this processor is not known to this version".to_owned());
    }
    let registry = exports.registry.ok_or("it does not tell PHP's version")?;
    let layout = Layout::find(memory, registry)?;
    let php = |globals, sapi, thread| Php { memory, layout, globals, sapi, thread };
    let all: Vec<_> = match (exports.globals, exports.globals_offset) {
        (Some(globals), _) => vec![php(globals, exports.sapi, None)],
        (None, Some(offset)) => {
            let offset = memory.u64(offset)?;
            let sapi = exports.sapi_offset.map(|at| memory.u64(at)).transpose()?;
            let blocks = thread_safe::blocks(memory, &image.writable(), threads)?;
            let of_block = |block: &thread_safe::Block| {
                let sapi = sapi.map(|sapi| block.globals + sapi);
                php(block.globals + offset, sapi, Some(block.thread))
            };
            blocks.iter().map(of_block).collect()
        }
        (None, None) => Vec::new(),
    };
    let looked: Vec<_> = all.iter().map(|php| steady(|| php.running(show_data))).collect();
    let why = looked.iter().find_map(|one| one.as_ref().err().cloned());
    let found: Vec<_> = looked.into_iter().filter_map(Result::ok).flatten().collect();
    match (found.is_empty(), why) {
        (true, Some(why)) => Err(why),
        (true, None) => Err("PHP runs no script at the moment".to_owned()),
        (false, _) => Ok(found),
    }
}

/// A process, or a thread of it, that runs PHP.
struct Php<'a> {
    memory: &'a Memory,
    layout: Layout,
    globals: Address,
    sapi: Option<Address>,
    thread: Option<u32>,
}

/// One call of a script's own function, as it is found.
struct Call {
    frame: Frame,
    /// Somebody else's code: an installed package, or this project's client.
    is_library: bool,
    data: Address,
    function: Address,
}

impl Php<'_> {
    /// `None`: it runs no script.
    fn running(&self, show_data: bool) -> Result<Option<Location>, String> {
        let innermost = self.memory.pointer(self.globals + self.layout.current_execute_data)?;
        let Some(first) = innermost else { return Ok(None) };
        let calls = self.calls(first)?;
        let own = calls.iter().find(|call| !call.is_library).or(calls.first());
        let own =
            own.ok_or_else(|| format!("its innermost {MOST_FRAMES} calls are all in PHP itself"))?;
        let variables =
            if show_data { self.variables(own.data, own.function)? } else { Vec::new() };
        let Frame { file, line, function } = own.frame.clone();
        let found = Location {
            language: "PHP".to_owned(),
            thread: self.thread,
            file,
            line,
            function,
            variables,
            request: self.request(),
            is_library: own.is_library,
            stack: calls.into_iter().map(|call| call.frame).collect(),
        };
        // A script that has gone on meanwhile was perhaps seen half here and half there.
        let now = self.memory.pointer(self.globals + self.layout.current_execute_data)?;
        (now == innermost).then_some(Some(found)).ok_or_else(|| "the script is running".to_owned())
    }

    /// Each call stands with what is called on its line: the next call, or a function of PHP's.
    fn calls(&self, innermost: Address) -> Result<Vec<Call>, String> {
        let mut calls = Vec::new();
        let mut called = None;
        let mut next = Some(innermost);
        for _ in 0..MOST_FRAMES {
            let Some(data) = next else { break };
            next = self.memory.pointer(data + execute_data::PREV)?;
            // Frames without a function are only bookkeeping, as a generator's.
            let Some(function) = self.memory.pointer(data + execute_data::FUNC)? else { continue };
            let name = self.name(function)?;
            match self.memory.u8(function + function::TYPE)? {
                function::USER | function::EVAL => {
                    let is_of_client =
                        name.as_ref().is_some_and(|name| name.starts_with("Unhang\\"));
                    let name = name.unwrap_or_else(|| "{main}".to_owned());
                    let call = called.replace(name.clone()).unwrap_or(name);
                    let file = self.memory.follow(function + self.layout.filename)?;
                    let file = self.text(file, LONGEST_PATH)?;
                    let is_library = is_of_client || file.contains("/vendor/");
                    let line = self.line(data, function)?;
                    let frame = Frame { file, line, function: call };
                    calls.push(Call { frame, is_library, data, function });
                }
                // The first of several that call each other is what the script waits for.
                function::INTERNAL if called.is_none() => called = name,
                function::INTERNAL => {}
                other => return Err(format!("PHP has no function of type {other}")),
            }
        }
        Ok(calls)
    }

    /// The request that a page answers: method and path. What follows the path may be a secret.
    fn request(&self) -> Option<String> {
        let sapi = self.sapi?;
        let text = |at| {
            self.memory.c_string(Address(self.memory.u64(sapi + at).ok()?), LONGEST_REQUEST).ok()
        };
        let (method, uri) = (text(request::METHOD)?, text(request::URI)?);
        let path = uri.split(['?', '#']).next().unwrap_or_default();
        (!method.is_empty()).then(|| escape::name(format!("{method} {path}").as_bytes()))
    }

    /// `None` if the instruction is not the function's own. PHP notes it before whatever may
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
            Some(0) => Ok(escape::name(&bytes)),
            _ => Err("a string of PHP's does not end with NUL".to_owned()),
        }
    }

    /// As much of a string as is shown.
    fn beginning(&self, string: Address) -> Result<String, String> {
        let length = self.length(string)?;
        let shown = to_usize(length).min(SHOWN);
        let content = escape::content(&self.memory.bytes(string + string::BYTES, shown)?);
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

fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
