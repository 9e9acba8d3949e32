//! What answers requests, besides a Rust function: a program, run once per request (feature
//! `program`). It is a [`Handler`](crate::Handler).

mod check;
mod command;
mod group;
mod lines;
mod notice;
mod process;
mod program;

pub use check::{CannotRun, Unfit};
pub use command::Command;
pub use notice::{Holder, Notice, Why};
pub use process::kill_all;
pub use program::Program;
