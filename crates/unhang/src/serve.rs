//! Serving: one request's way is the list of these modules.

pub(crate) mod admission;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod door;
pub(crate) mod parked;
pub(crate) mod stream;
pub(crate) mod waker;
pub(crate) mod watchdog;
pub(crate) mod worker;
