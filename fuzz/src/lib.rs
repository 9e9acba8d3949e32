//! The fuzz targets. Each is a function that panics if something does not hold that must hold for
//! every input; cargo-fuzz runs them from `fuzz_targets/`, and the program beside this file without
//! it.

// The command's units look users up, and it is a program, with nothing to link to.
#[allow(dead_code)]
#[path = "../../crates/unhang-cli/src/accounts.rs"]
mod accounts;
mod ask;
mod http;
mod waits;
mod sock_diag;
mod systemd;
mod units;

pub use unhang::fuzzing::{address, control_line, error_line, exchange, framing, handover, tables, wires};
pub use http::http;
pub use waits::waits;
pub use ask::{goroutines, runtimes};
pub use sock_diag::sock_diag;
pub use systemd::systemd;
pub use units::units;

/// A name, and what it tries.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 15] = [
    ("address", address),
    ("control_line", control_line),
    ("error_line", error_line),
    ("exchange", exchange),
    ("framing", framing),
    ("goroutines", goroutines),
    ("handover", handover),
    ("http", http),
    ("waits", waits),
    ("runtimes", runtimes),
    ("sock_diag", sock_diag),
    ("systemd", systemd),
    ("tables", tables),
    ("units", units),
    ("wires", wires),
];
