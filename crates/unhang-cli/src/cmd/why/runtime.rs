//! What a language's own runtime knows: where a script is, and which goroutine reads a socket.

// Nothing makes these yet.
#![allow(dead_code, clippy::unnecessary_wraps)]

/// The line at which a process's script is.
#[derive(Clone, Debug)]
pub(crate) struct Where {
    pub(crate) language: &'static str,
    pub(crate) file: String,
    pub(crate) line: Option<u32>,
    pub(crate) function: String,
    /// Names and values, escaped already, only where the user asked to see data.
    pub(crate) variables: Vec<(String, String)>,
}

/// Who reads a socket in a Go program.
#[derive(Clone, Debug)]
pub(crate) enum Reader {
    /// A goroutine waits to read it; the innermost frames first.
    Waiting { goroutine: u64, frames: Vec<String> },
    /// None does.
    Nobody {
        /// Goroutines besides main and the runtime's own, one of which could own it.
        handlers: usize,
    },
}

/// None where the process runs no script of a known language.
pub(crate) fn where_is(_pid: u32, _show_data: bool) -> Result<Option<Where>, String> {
    Ok(None)
}

/// None where the process is no Go program.
pub(crate) fn go_reader(_pid: u32, _fd: u32, _epoll_data: u64) -> Result<Option<Reader>, String> {
    Ok(None)
}
