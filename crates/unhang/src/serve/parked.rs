//! Every connection that waits, and until when. Each worker has a table of its own, and the watchdog one
//! for connections that belong to no worker: the thread that served a connection watches it. Here also is all
//! that `unhang why` is told.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::serve::config::Config;
use crate::serve::connection::Connection;
use crate::serve::slot::Slot;
use crate::serve::stream::Interest;
use crate::serve::system::{Poller, Ready, System};

/// On cache lines of its own: each worker writes to its own all the time.
#[repr(align(128))]
pub(crate) struct Parked<Y: System> {
    /// Its place among all tables.
    index: u8,
    pub(crate) poller: Y::Poller,
    table: Mutex<Table<Y::Stream>>,
    pub(crate) slot: Slot<Y::Stream>,
    /// What its thread was told of last, if that was several connections. The kernel tells of each once: if
    /// the handler of one blocks the thread, the watchdog has to know the others.
    reported: Mutex<Vec<u64>>,
    /// Its thread has something to do.
    at_work: AtomicBool,
    /// The watchdog has waited in the place of its thread.
    was_adopted: AtomicBool,
}

/// A connection is known by its number: where it lies, and which one it is of all that lay there.
struct Table<S> {
    base: Instant,
    entries: Vec<Entry<S>>,
    free: Vec<u32>,
    /// Nanoseconds from `base`, and where the connection lies.
    due: BTreeSet<(u64, u32)>,
}

struct Entry<S> {
    generation: u32,
    due: u64,
    connection: Option<Box<Connection<S>>>,
}

impl<Y: System> Parked<Y> {
    /// # Errors
    /// When there is no descriptor for its poller.
    pub(crate) fn new(system: &Y, index: u8) -> io::Result<Self> {
        let table = Table {
            base: system.now(),
            entries: Vec::new(),
            free: Vec::new(),
            due: BTreeSet::new(),
        };
        let (poller, table, slot) = (system.poller()?, Mutex::new(table), Slot::default());
        let (at_work, was_adopted) = (AtomicBool::new(false), AtomicBool::new(false));
        let reported = Mutex::default();
        Ok(Self { index, poller, table, slot, reported, at_work, was_adopted })
    }

    /// Its thread is about to serve these, one after the other.
    pub(crate) fn is_told(&self, ready: &[Ready]) {
        if ready.len() < 2 {
            return;
        }
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.clear();
        reported.extend(ready.iter().filter_map(|ready| match *ready {
            Ready::Connection(number) => Some(number),
            _ => None,
        }));
    }

    /// The same. Those among them that were served are not found by these numbers any more.
    pub(crate) fn was_told(&self) -> Vec<u64> {
        std::mem::take(&mut *self.reported.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn goes_to_work(&self) {
        self.at_work.store(true, Ordering::SeqCst);
    }

    pub(crate) fn rests(&self) {
        self.at_work.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_at_work(&self) -> bool {
        self.at_work.load(Ordering::SeqCst)
    }

    /// The watchdog does not wait in the place of its thread any more. What that one's poller knew of
    /// clients and wakers may be lost.
    pub(crate) fn is_given_back(&self) {
        self.was_adopted.store(true, Ordering::SeqCst);
        self.poller.wake();
    }

    pub(crate) fn was_adopted(&self) -> bool {
        self.was_adopted.load(Ordering::SeqCst) && self.was_adopted.swap(false, Ordering::SeqCst)
    }

    fn table(&self) -> MutexGuard<'_, Table<Y::Stream>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By its number it can be taken again. Given back if the kernel has no room to watch it.
    pub(crate) fn park(
        &self,
        mut connection: Box<Connection<Y::Stream>>,
        interest: Interest,
        due: Instant,
    ) -> Result<u64, Box<Connection<Y::Stream>>> {
        connection.home = self.index;
        let mut table = self.table();
        let (at, number) = table.next(self.index);
        if interest != Interest::Nothing {
            let again = connection.watched;
            if self.poller.watch(&connection.stream, number, interest, again).is_err() {
                table.free.push(at);
                return Err(connection);
            }
            connection.watched = true;
        }
        table.put(at, due, connection);
        Ok(number)
    }

    /// None if another thread has taken it.
    pub(crate) fn take(&self, number: u64) -> Option<Box<Connection<Y::Stream>>> {
        self.table().take(number)
    }

    /// The one that is due first, if it is.
    pub(crate) fn take_due(&self, now: Instant) -> Option<Box<Connection<Y::Stream>>> {
        let mut table = self.table();
        let &(due, at) = table.due.first()?;
        if table.moment(due) > now {
            return None;
        }
        table.take_at(at)
    }

    /// Any one.
    pub(crate) fn take_any(&self) -> Option<Box<Connection<Y::Stream>>> {
        let mut table = self.table();
        let &(_, at) = table.due.first()?;
        table.take_at(at)
    }

    /// The numbers of all that are kept and ask nothing just now; the one that has rested longest first.
    pub(crate) fn resting(&self, most: usize) -> Vec<u64> {
        let table = self.table();
        let of = |&(_, at): &(u64, u32)| {
            let entry = table.entries.get(at as usize)?;
            let rests = entry.connection.as_ref().is_some_and(|connection| connection.rests());
            rests.then(|| number(self.index, at, entry.generation))
        };
        table.due.iter().filter_map(of).take(most).collect()
    }

    pub(crate) fn look_at(&self, number: u64, look: impl FnOnce(&mut Connection<Y::Stream>)) {
        let mut table = self.table();
        let entry = table.entry(number).and_then(|at| table.entries.get_mut(at as usize));
        if let Some(connection) = entry.and_then(|entry| entry.connection.as_deref_mut()) {
            look(connection);
        }
    }

    pub(crate) fn first_due(&self) -> Option<Instant> {
        let table = self.table();
        table.due.first().map(|&(due, _)| table.moment(due))
    }

    /// A line for each: its descriptor, what it waits for, for how many milliseconds it has, in how many
    /// it will not any longer, and what its handler waits for, if that has said so.
    pub(crate) fn lines(&self, config: &Config, now: Instant) -> String {
        let mut lines = String::new();
        let table = self.table();
        let waiting = table.entries.iter().filter_map(|entry| entry.connection.as_deref());
        for connection in waiting {
            let Some((fd, word, since, due)) = connection.state(config) else { continue };
            write_line(&mut lines, (fd, word), since, due, now);
            if let Some(what) = connection.waits_for() {
                let _ = write!(lines, " {what}");
            }
            lines.push('\n');
        }
        drop(table);
        if let Some((fd, _, since, due)) = self.slot.blocked(config) {
            write_line(&mut lines, (fd, "blocked"), since, due, now);
            lines.push('\n');
        }
        lines
    }
}

fn write_line(
    lines: &mut String,
    (fd, word): (i32, &str),
    since: Instant,
    due: Instant,
    now: Instant,
) {
    let millis = |duration: Duration| duration.as_millis();
    let since = millis(now.saturating_duration_since(since));
    let left = millis(due.saturating_duration_since(now));
    // Into a string, which cannot fail.
    let _ = write!(lines, "{fd} {word} {since} {left}");
}

// A connection's number: its table (7 bits), which one it is of all that lay in the same entry (24), and
// the entry (32). The highest bit stays free for what a poller reports besides.
const TABLE: u32 = 56;
const GENERATION: u32 = 32;

const GENERATIONS: u32 = (1 << (TABLE - GENERATION)) - 1;

/// So many tables there may be: of as many workers, but one.
pub(crate) const TABLES: usize = 127;

fn number(table: u8, at: u32, generation: u32) -> u64 {
    u64::from(table) << TABLE | u64::from(generation) << GENERATION | u64::from(at)
}

/// The table in which the connection with this number lies.
pub(crate) fn table_of(number: u64) -> usize {
    usize::try_from(number >> TABLE).unwrap_or(usize::MAX)
}

impl<S> Table<S> {
    /// Where the next one will lie, and its number.
    fn next(&mut self, table: u8) -> (u32, u64) {
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, due: 0, connection: None });
            // Descriptors are numbered by an i32.
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.entries[at as usize];
        entry.generation = (entry.generation + 1) & GENERATIONS;
        (at, number(table, at, entry.generation))
    }

    fn put(&mut self, at: u32, due: Instant, connection: Box<Connection<S>>) {
        let due = due.saturating_duration_since(self.base).as_nanos();
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        let entry = &mut self.entries[at as usize];
        entry.due = due;
        entry.connection = Some(connection);
        self.due.insert((due, at));
    }

    fn entry(&self, number: u64) -> Option<u32> {
        let at = u32::try_from(number & u64::from(u32::MAX)).ok()?;
        let entry = self.entries.get(at as usize)?;
        let generation = (number >> GENERATION) & u64::from(GENERATIONS);
        (u64::from(entry.generation) == generation).then_some(at)
    }

    fn take(&mut self, number: u64) -> Option<Box<Connection<S>>> {
        let at = self.entry(number)?;
        self.take_at(at)
    }

    fn take_at(&mut self, at: u32) -> Option<Box<Connection<S>>> {
        let entry = &mut self.entries[at as usize];
        let connection = entry.connection.take()?;
        self.due.remove(&(entry.due, at));
        self.free.push(at);
        Some(connection)
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
