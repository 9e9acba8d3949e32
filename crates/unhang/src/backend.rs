//! What answers requests, besides a Rust function: a program that is run once per request (feature
//! `program`), programs that live on and answer one after another (`workers`), or another server
//! (`forward`). Each is a [`Handler`](crate::Handler).

mod check;
mod command;
#[cfg(feature = "forward")]
mod forward;
mod group;
mod lines;
mod notice;
mod process;
mod program;
#[cfg(any(feature = "forward", feature = "workers"))]
mod prompt;
mod terms;
#[cfg(feature = "workers")]
mod workers;

pub use check::{CannotRun, Unfit};
pub use command::Command;
#[cfg(feature = "forward")]
pub use forward::{BadTarget, Forward, HalfClose, ReplyEnds, Seen, Target, Times, Watch};
pub use notice::{EndedBy, Holder, Notice, Why};
pub use process::kill_all;
pub use program::Program;
#[cfg(feature = "workers")]
pub use workers::{Frames, NotStarted, WorkerCounts, Workers};
