//! What the user is told. If it cannot be written, that is no reason to panic, nor to be silent.

use std::fmt::Display;
use std::io;

use crate::{cmd, exit};

/// The result, on standard output.
pub(crate) fn print(text: &str) -> io::Result<()> {
    cmd::print(text)
}

/// The exit code, which must not tell of a result that nobody was given.
pub(crate) fn code(printed: &io::Result<()>, code: u8) -> u8 {
    // Not 1, which would say that a fault was found.
    cmd::given("why", printed, code, exit::NOT_ALLOWED, "the result cannot be written")
}

/// What went wrong, on standard error.
pub(crate) fn complain(what: impl Display) {
    cmd::complain("why", what);
}

/// Why there is nothing to judge.
pub(crate) enum Unseen {
    /// What was asked about is not there.
    Nothing(String),
    System(io::Error),
}

impl Unseen {
    /// Says it, and gives the exit code.
    pub(crate) fn tell(&self) -> u8 {
        match self {
            Self::Nothing(what) => {
                complain(what);
                exit::USAGE
            }
            // Not 1: nothing was seen, and so no fault.
            Self::System(error) => {
                complain(error);
                if is_old_kernel(error) { exit::OLD_KERNEL } else { exit::NOT_ALLOWED }
            }
        }
    }
}

/// The kernel has no `unix_diag`: before 3.3, or built without it, as some sandboxes are.
fn is_old_kernel(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::NOENT, Errno::PROTONOSUPPORT, Errno::AFNOSUPPORT, Errno::OPNOTSUPP];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}
