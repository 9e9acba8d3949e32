//! The command and the library under it, tested with bytes on real sockets.

// A failed expectation is what a test is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backend;
mod bench;
mod call;
mod fault;
mod interop;
mod killed;
mod limits;
mod load;
mod log;
mod metrics;
#[cfg(feature = "nats")]
mod nats;
mod readme;
mod regression;
mod replace;
mod serve;
mod socket_file;
mod support;
mod systemd;
mod why;
