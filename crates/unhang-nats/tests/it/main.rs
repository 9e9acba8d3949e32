//! Doors and services over real servers of NATS.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod auth;
mod fault;
mod hostile;
mod http;
mod lying;
mod network;
mod promise;
mod support;
