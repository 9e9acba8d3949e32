//! unhang over many machines: the page still asks its local socket, and what answers is on other machines,
//! behind NATS.
//!
//! A [`Door`] stands on each web machine: a [`Handler`](unhang::Handler) for a
//! [`Server`](unhang::Server) on a Unix socket. A [`Server`] stands on each service machine and has a
//! handler of its own. Between them are request and reply of NATS, and its queue groups; there is no
//! cluster of our own.
//!
//! Every call is answered, or told why not, by the deadline of its local socket. A call that may have run
//! is never made again, unless it was said to be idempotent.

mod access;
mod address;
mod call;
mod clock;
mod door;
mod link;
mod nodes;
mod notice;
mod protocol;
mod server;

pub use access::{Access, BadAccess};
pub use address::{Address, BadAddress};
pub use call::Outcome;
pub use door::{Builder, CannotStart, Door, Waiting};
pub use notice::Notice;
pub use protocol::Id;
pub use server::{Counts, Server};
