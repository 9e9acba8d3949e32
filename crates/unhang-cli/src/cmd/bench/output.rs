//! What is said to whoever asked. That it cannot be said is no reason to panic, nor to be silent.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use crate::exit;

/// Prints the report, and gives the exit code, which must not tell of a report that nobody was given.
pub(super) fn print(text: &str, code: u8) -> u8 {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads our output has seen enough, as `head` has.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(format_args!("cannot write the report: {error}"));
            exit::FAILED
        }
        _ => code,
    }
}

/// What went wrong, on standard error.
pub(super) fn complain(what: impl Display) {
    crate::cmd::complain("bench", what);
}
