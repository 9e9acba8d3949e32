//! What a language's runtime gives away about a running program: the script's line, and what reads a
//! descriptor. Read through /proc/PID/mem: nothing is stopped and nothing is changed. Another
//! program's memory moves while it is read, so every pointer is checked, and what does not fit is
//! "not known", never a guess.

pub(crate) mod details;
mod elf;
mod escape;
mod go;
pub(crate) mod location;
mod memory;
mod php;
mod program;
mod python;
pub(crate) mod reader;
pub(crate) mod scripts;
pub(crate) mod server;
#[cfg(test)]
mod test_support;
mod thread_names;
