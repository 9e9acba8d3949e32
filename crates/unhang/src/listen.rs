//! The listening socket: made, taken over from a running server, or inherited.

pub(crate) mod address;
mod bind;
pub(crate) mod control;
pub(crate) mod control_line;
pub(crate) mod file;
mod listener;
pub(crate) mod owner;
pub(crate) mod replace;
pub(crate) mod watcher;

pub use bind::Bind;
pub(crate) use listener::Accepted;
pub use listener::Listener;
