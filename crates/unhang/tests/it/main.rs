//! The library from outside, on real sockets.

// A failed expectation is what a test is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
#[cfg(any(feature = "tower", feature = "tracing"))]
mod ecosystem;
mod fault;
mod replace;
mod server;
mod successor;
mod support;
mod tidy;
mod wires;
