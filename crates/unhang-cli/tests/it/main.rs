//! The command and the library under it, tested with bytes on real sockets.

// A failed expectation is what a test is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod call;
mod interop;
mod load;
mod serve;
mod socket_file;
mod support;
mod why;
