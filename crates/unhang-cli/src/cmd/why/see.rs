//! What the system shows: sockets of every namespace, which processes hold them, and what those do.
//!
//! Everything is read; nothing is stopped and nothing is changed.

pub(crate) mod capabilities;
pub(crate) mod file;
pub(crate) mod file_id;
pub(crate) mod namespaces;
pub(crate) mod other_name;
mod path_bytes;
pub(crate) mod path_state;
pub(crate) mod pidfd;
pub(crate) mod process;
pub(crate) mod vacant_path;
