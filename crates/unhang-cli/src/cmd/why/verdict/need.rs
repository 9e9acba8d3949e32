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

/// The same, knowing the server. A client that wakes again and again, as curl does to see whether its time is up, or
/// a program that draws how far it is, goes back to wait for the same; and while no thread of the server has run, it
/// got no answer between. Nor did it, most likely, while the server did nothing but to compute.
pub(super) fn need_of(facts: &Facts, client: &Endpoint<'_>, server: &Endpoint<'_>) -> Need {
    match need(facts, client) {
        Need::None if server.is_still() || only_computes(server) => need_when_awake(facts, client),
        need => need,
    }
}

/// No thread and no loop of it attends to this end, and each thread that has run was at a computation all the while.
pub(super) fn only_computes(server: &Endpoint<'_>) -> bool {
    let is_left = server.readers.is_empty() && server.writers.is_empty() && server.loops.is_empty();
    let mut restless = server.others.restless().peekable();
    is_left && restless.peek().is_some() && restless.all(|one| one.activity == Activity::Computing)
}

/// Of a client that has run: what it waits for between, if it is one thing only.
fn need_when_awake(facts: &Facts, client: &Endpoint<'_>) -> Need {
    let is_sole = || client.reading_loop().is_some_and(|one| one.is_sole);
    match !is_kept(facts, client) && (!client.readers.is_empty() || is_sole()) {
        true => Need::Sole,
        false => Need::None,
    }
}

/// It has more to do than to wait for this one.
pub(super) fn is_busy_otherwise(client: &Endpoint<'_>) -> bool {
    let sleeper = || client.reading_loop().and_then(|one| one.sleeper);
    match client.readers.first() {
        Some(reader) => reader.activity == Activity::Moving,
        None => sleeper().is_some_and(|one| one.activity != Activity::Still),
    }
}

/// A thread of the client's reads it, or an event loop watches it: perhaps only to keep it for later.
pub(super) fn may_wait(facts: &Facts, client: &Endpoint<'_>, server: &Endpoint<'_>) -> bool {
    let is_watched = || client.loops.iter().any(|one| one.registration.reads());
    let is_idle = |end: &Endpoint<'_>| {
        matches!(reader(facts, end), Some(Reader::KeptAlive { shared: false, .. }))
    };
    (!client.readers.is_empty() || is_watched()) && !is_idle(client) && !is_idle(server)
}

/// A connection in a pool, which nobody asked anything on.
fn is_kept(facts: &Facts, end: &Endpoint<'_>) -> bool {
    matches!(reader(facts, end), Some(Reader::KeptAlive { .. }))
}

/// What the runtime under it says.
fn reader<'a>(facts: &'a Facts, end: &Endpoint<'_>) -> Option<&'a Reader> {
    facts.details.readers.get(&end.socket.inode)?.as_ref().ok()?.as_ref()
}

pub(super) fn need(facts: &Facts, client: &Endpoint<'_>) -> Need {
    if let Some(reader) = client.readers.first() {
        return if reader.activity == Activity::Still { Need::Direct } else { Need::None };
    }
    if client.is_hidden {
        return Need::Hidden;
    }
    if let Some(Reader::Waiting { .. }) = reader(facts, client) {
        return Need::Direct;
    }
    if is_kept(facts, client) {
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
