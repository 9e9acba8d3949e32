//! What must hold for every input: one function per fuzz target, which panics if it does not.
//!
//! Only there with `--cfg fuzzing`, and no part of the library. It stands here because what it tries
//! is private; `fuzz/` has the targets, and docs/fuzzing.md says how to run them.

mod address;
mod control_line;
mod error_line;
mod exchange;
mod framing;
mod handover;
mod input;
mod tables;
mod wires;

pub use address::address;
pub use control_line::control_line;
pub use error_line::error_line;
pub use exchange::exchange;
pub use framing::framing;
pub use handover::handover;
pub use tables::tables;
pub use wires::{Read, http_requests, wires};
