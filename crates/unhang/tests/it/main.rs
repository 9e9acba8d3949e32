//! The library from outside, on real sockets.

mod client;
mod server;
mod tidy;
