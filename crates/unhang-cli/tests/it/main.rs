//! The command and the library under it, tested with bytes on real sockets.

mod call;
mod interop;
mod load;
mod serve;
mod socket_file;
mod support;
