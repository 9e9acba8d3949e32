//! Where connections lie that are parked at one thread: by number, and in the order in which they are due.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::serve::config::Config;
use crate::serve::connection::{Connection, Watched};
use crate::serve::stream::Stream;

/// A connection is known by its number: where it lies, and which one it is of all that lay there. One that its
/// poller reports [each time](Watched::Each) keeps its entry, and so its number, while it is stepped.
pub(crate) struct Table<S> {
    /// Its place among all tables.
    index: u8,
    base: Instant,
    entries: Vec<Entry<S>>,
    free: Vec<u32>,
    /// Nanoseconds from `base`, and where the connection lies.
    due: BTreeSet<(u64, u32)>,
}

struct Entry<S> {
    generation: u32,
    /// As it stands in the table's `due`, or [`NEVER`]. A connection that keeps its entry may be due later: it has
    /// another while for each request, and to put it in its new place each time would be felt.
    due: u64,
    connection: Option<Box<Connection<S>>>,
}

/// It does not stand there.
const NEVER: u64 = u64::MAX;

// A connection's number: its table (7 bits), which one it is of all that lay in the same entry (24), and
// the entry (32). The highest bit stays free for what a poller reports besides.
const TABLE: u32 = 56;
const GENERATION: u32 = 32;

const GENERATIONS: u32 = (1 << (TABLE - GENERATION)) - 1;

/// The number of no connection: those that lie in an entry are counted from one.
pub(crate) const NOBODY: u64 = 0;

/// So many tables there may be: of as many workers, but one.
pub(crate) const TABLES: usize = 127;

/// The table in which the connection with this number lies.
pub(crate) fn table_of(number: u64) -> usize {
    usize::try_from(number >> TABLE).unwrap_or(usize::MAX)
}

impl<S: Stream> Table<S> {
    pub(crate) fn new(index: u8, base: Instant) -> Self {
        Self { index, base, entries: Vec::new(), free: Vec::new(), due: BTreeSet::new() }
    }

    /// Where the next one will lie.
    pub(crate) fn next(&mut self) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, due: NEVER, connection: None });
            // Descriptors are numbered by an i32.
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.entries[at as usize];
        entry.generation = entry.generation % GENERATIONS + 1;
        at
    }

    /// The number of the one that lies here, or will.
    pub(crate) fn number(&self, at: u32) -> u64 {
        let generation = self.entries[at as usize].generation;
        u64::from(self.index) << TABLE | u64::from(generation) << GENERATION | u64::from(at)
    }

    /// By this number it can be taken.
    pub(crate) fn put(&mut self, at: u32, due: Instant, connection: Box<Connection<S>>) -> u64 {
        let due = self.since_base(due);
        if due < self.entries[at as usize].due {
            self.is_due(at, due);
        }
        self.entries[at as usize].connection = Some(connection);
        self.number(at)
    }

    /// None lies here any more.
    pub(crate) fn free(&mut self, at: u32) {
        self.is_due(at, NEVER);
        self.free.push(at);
    }

    /// Where the one with this number lies, or is to lie again.
    pub(crate) fn at(&self, number: u64) -> Option<u32> {
        let at = u32::try_from(number & u64::from(u32::MAX)).ok()?;
        let entry = self.entries.get(at as usize)?;
        let generation = (number >> GENERATION) & u64::from(GENERATIONS);
        (u64::from(entry.generation) == generation).then_some(at)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Connection<S>> {
        let at = self.at(number)?;
        self.entries[at as usize].connection.as_deref_mut()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Connection<S>> {
        self.entries.iter().filter_map(|entry| entry.connection.as_deref())
    }

    pub(crate) fn take(&mut self, number: u64) -> Option<Box<Connection<S>>> {
        let at = self.at(number)?;
        self.take_at(at)
    }

    /// The one that is due first, if it is.
    pub(crate) fn take_due(&mut self, config: &Config, now: Instant) -> Option<Box<Connection<S>>> {
        loop {
            let &(known, at) = self.due.first()?;
            if self.moment(known) > now {
                return None;
            }
            let due =
                self.get(at).map_or(NEVER, |connection| self.since_base(connection.due(config)));
            if due <= self.since_base(now) {
                return self.take_at(at);
            }
            self.is_due(at, due);
        }
    }

    /// Any one.
    pub(crate) fn take_any(&mut self) -> Option<Box<Connection<S>>> {
        let &(_, at) = self.due.iter().find(|&&(_, at)| self.get(at).is_some())?;
        self.take_at(at)
    }

    /// No connection is due before.
    pub(crate) fn first_due(&self) -> Option<Instant> {
        self.due.first().map(|&(due, _)| self.moment(due))
    }

    /// The numbers of all that are kept and ask nothing just now.
    pub(crate) fn resting(&self) -> Vec<u64> {
        let rests = |&&(_, at): &&(u64, u32)| self.get(at).is_some_and(Connection::rests);
        self.due.iter().filter(rests).map(|&(_, at)| self.number(at)).collect()
    }

    /// The number of the one among them that has rested longest.
    pub(crate) fn rests_longest(&self, config: &Config) -> Option<u64> {
        let mut first: Option<(u64, u32)> = None;
        for &(known, at) in &self.due {
            // Those that follow are due no sooner than that.
            if first.is_some_and(|(due, _)| due <= known) {
                break;
            }
            let Some(resting) = self.get(at).filter(|connection| connection.rests()) else {
                continue;
            };
            let due = self.since_base(resting.due(config));
            first = first.into_iter().chain([(due, at)]).min();
        }
        first.map(|(_, at)| self.number(at))
    }

    fn get(&self, at: u32) -> Option<&Connection<S>> {
        self.entries[at as usize].connection.as_deref()
    }

    fn take_at(&mut self, at: u32) -> Option<Box<Connection<S>>> {
        let connection = self.entries[at as usize].connection.take()?;
        if connection.watched != Watched::Each {
            self.free(at);
        }
        Some(connection)
    }

    fn is_due(&mut self, at: u32, due: u64) {
        let known = std::mem::replace(&mut self.entries[at as usize].due, due);
        if known != NEVER {
            self.due.remove(&(known, at));
        }
        if due != NEVER {
            self.due.insert((due, at));
        }
    }

    fn since_base(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.base).as_nanos();
        u64::try_from(since).unwrap_or(NEVER).min(NEVER - 1)
    }

    fn moment(&self, due: u64) -> Instant {
        self.base + Duration::from_nanos(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::stream::Socket;

    /// Beside the connection, an idle one costs its entry, its deadline in the tree and its descriptor.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Entry<Socket>>() <= 24, "{}", size_of::<Entry<Socket>>());
        let connection = size_of::<Connection<Socket>>();
        assert!(connection <= 120, "{connection} bytes: box what an idle connection does not need");
    }
}
