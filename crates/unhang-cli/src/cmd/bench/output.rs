//! What the caller is told. If it cannot be written, that is no reason to panic, nor to be silent.

use std::fmt::Display;

use crate::{cmd, exit};

/// Prints the report, and gives the exit code, which must not tell of a report that nobody was given.
pub(super) fn print(text: &str, code: u8) -> u8 {
    let written = cmd::print(text);
    cmd::given("bench", &written, code, exit::FAILED, "cannot write the report")
}

/// What went wrong, on standard error.
pub(super) fn complain(what: impl Display) {
    cmd::complain("bench", what);
}
