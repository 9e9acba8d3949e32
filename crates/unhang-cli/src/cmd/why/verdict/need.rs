//! How surely a client waits for its server.

use crate::cmd::why::ask::reader::Reader;
use crate::cmd::why::endpoint::{Endpoint, Loop};
use crate::cmd::why::facts::{Activity, Facts};

/// How surely a client waits for this connection, and not only for anything at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    Hidden,
    /// It does not wait, or wakes too often to hang.
    None,
    /// In an event loop, with others.
    Shared,
    /// In an event loop that watches nothing else.
    Sole,
    /// A thread is blocked until this end can be read.
    Direct,
}

/// The same, knowing the server. A client that wakes once a second, as curl does to see whether its time is up, goes
/// back to wait for the same; and while no thread of the server has run, it got no answer between.
pub(super) fn need_of(facts: &Facts, client: &Endpoint<'_>, server: &Endpoint<'_>) -> Need {
    let ticks = client.readers.first().is_some_and(|one| one.activity == Activity::Ticking);
    match need(facts, client) {
        Need::None if ticks && server.is_still() => Need::Sole,
        need => need,
    }
}

pub(super) fn need(facts: &Facts, client: &Endpoint<'_>) -> Need {
    if let Some(reader) = client.readers.first() {
        return if reader.activity == Activity::Still { Need::Direct } else { Need::None };
    }
    if client.is_hidden {
        return Need::Hidden;
    }
    if let Some(Ok(Some(Reader::Waiting { .. }))) = facts.details.readers.get(&client.socket.inode)
    {
        return Need::Direct;
    }
    // A connection in a pool, which nobody asked anything on.
    if let Some(Ok(Some(Reader::KeptAlive { .. }))) =
        facts.details.readers.get(&client.socket.inode)
    {
        return Need::None;
    }
    match client.reading_loop() {
        Some(one) if one.sleeper.is_none_or(|sleeper| sleeper.activity != Activity::Still) => {
            Need::None
        }
        Some(Loop { is_sole: true, .. }) => Need::Sole,
        Some(_) => Need::Shared,
        None => Need::None,
    }
}
