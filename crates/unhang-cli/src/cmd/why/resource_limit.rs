//! How much of the machine a look may take: what is read is a stranger's to make long.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The whole look: a million sockets and what watches them take less. One that needs more ends, and the machine that
/// it was to help does not.
pub(super) const OF_A_LOOK: u64 = 4 << 30;
/// All that a helper may have. A program's symbols, the largest thing that is read, take some 20 MiB.
pub(super) const OF_A_HELPER: u64 = 512 << 20;

/// From here on, this process may have no more, nor may those that it starts. A lower limit stays.
pub(super) fn set_memory(most: u64) -> io::Result<()> {
    lower(Resource::As, most)
}

pub(super) fn lower(resource: Resource, most: u64) -> io::Result<()> {
    let limit = getrlimit(resource);
    let at_most = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    let (current, maximum) = (at_most(limit.current), at_most(limit.maximum));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}
