//! What answers requests, besides a Rust function: a program that is run once per request (feature
//! `program`), or programs that live on and answer one after another (`workers`). Each is a
//! [`Handler`](crate::Handler).

mod check;
mod command;
mod group;
mod lines;
mod notice;
mod process;
mod program;
#[cfg(feature = "workers")]
mod workers;

pub use check::{CannotRun, Unfit};
pub use command::Command;
pub use notice::{Holder, Notice, Why};
pub use process::kill_all;
pub use program::Program;
#[cfg(feature = "workers")]
pub use workers::{Frames, NotStarted, Workers};
