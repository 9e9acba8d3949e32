//! The protocols, as pure bytes: nothing here knows a socket, a clock or a runtime.

pub(crate) mod oneshot;
