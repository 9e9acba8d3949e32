//! No client of a Unix socket is ever left hanging.
//!
//! A service in fifteen lines. Every connection is answered or told why not, and then ended, within
//! its deadlines, whatever the handler, the client or the kernel does:
//!
//! ```no_run
#![doc = include_str!("../examples/hello.rs")]
//! ```
//!
//! A call, with one deadline for all of it:
//!
//! ```no_run
//! # async fn example() -> Result<(), unhang::Error> {
//! let reply = unhang::call("/tmp/hello.sock", "world").await?;
//! # Ok(()) }
//! ```
//!
//! The way of a request is the list of modules: [`Bind`] makes the socket, [`Server`] accepts,
//! a connection reads the request, runs the [`Handler`], writes the [`Reply`] and closes, within
//! [`Limits`]; [`Event`] tells an observer how it went. [`Client`] is the other end.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "unhang runs on Linux only: it keeps its promise by epoll, eventfd and /proc. For the code that needs it, \
     write `cfg(target_os = \"linux\")`."
);

#[cfg(feature = "program")]
pub mod backend;
mod client;
mod error;
mod event;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gauges;
mod handler;
mod json;
pub mod limits;
mod listen;
mod parts;
#[doc(hidden)]
pub mod passed_descriptors;
mod peer;
mod serve;
mod server;
mod signal;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), expect(dead_code, reason = "fuzz targets use its clock and its socket"))]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "it is only built for tests")]
mod sim;
mod wire;

#[doc(hidden)]
pub use client::frame;
pub use client::frame::GoridgeCodec;
pub use client::{Client, ClientWire, LengthPrefix, Predicate, ReplyEnds, call};
pub use error::{Error, ErrorKind, Phase, Whose};
pub use event::{Cause, Ended, Event, Exchange, Lost, Scarce, State};
pub use gauges::Gauges;
#[cfg(feature = "tower")]
pub use handler::TowerHandler;
pub use handler::{
    AnyHandler, Fault, Gone, Handler, Peer, Reply, ReplySender, Request, WaitReport,
};
pub use limits::Limits;
pub use listen::address::Address;
pub use listen::{Bind, Listener};
pub use server::{Server, ServerHandle};
pub use signal::termination;
pub use wire::lines::{Delimiter, Errors};
pub use wire::oneshot::Until;

/// The README's code is compiled like any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
