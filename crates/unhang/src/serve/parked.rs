//! Every connection that waits, and until when. Each worker has a table of its own, and the watchdog one
//! for connections that belong to no worker: the thread that served a connection watches it. Here also is all
//! that `unhang why` is told.

use std::fmt::Write;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::serve::config::Config;
use crate::serve::connection::{Connection, Watched};
use crate::serve::slot::Slot;
use crate::serve::stream::Interest;
use crate::serve::system::{Poller, Ready, System};
use crate::serve::table::{NOBODY, Table};

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
    /// The handler that its thread asked last did not go on elsewhere. Then its connections had better be reported
    /// each time: to have them reported once more is a system call for each exchange.
    pub(crate) answers_at_once: AtomicBool,
    /// Its thread has something to do.
    at_work: AtomicBool,
    /// The watchdog has waited in the place of its thread.
    was_adopted: AtomicBool,
}

impl<Y: System> Parked<Y> {
    /// # Errors
    /// When there is no descriptor for its poller.
    pub(crate) fn new(system: &Y, index: u8) -> io::Result<Self> {
        Ok(Self {
            index,
            poller: system.poller()?,
            table: Mutex::new(Table::new(index, system.now())),
            slot: Slot::default(),
            reported: Mutex::default(),
            answers_at_once: AtomicBool::new(false),
            at_work: AtomicBool::new(false),
            was_adopted: AtomicBool::new(false),
        })
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

    /// The same. Of those that were served meanwhile most are not found by these numbers any more.
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
        if connection.watched == Watched::Each {
            if interest == Interest::Read {
                return Ok(table.put(connection.at, due, connection));
            }
            self.mute_in(&mut table, &mut connection);
        }
        let at = table.next();
        if interest != Interest::Nothing
            && self.watch(&mut connection, (at, table.number(at)), interest).is_err()
        {
            table.free(at);
            return Err(connection);
        }
        Ok(table.put(at, due, connection))
    }

    fn watch(
        &self,
        connection: &mut Connection<Y::Stream>,
        (at, number): (u32, u64),
        interest: Interest,
    ) -> io::Result<()> {
        let each = interest == Interest::Read
            && connection.is_kept()
            && self.answers_at_once.load(Ordering::Relaxed);
        let (interest, watched) = match each {
            true => (Interest::EachRead, Watched::Each),
            false => (interest, Watched::Once),
        };
        let again = connection.watched != Watched::No;
        self.poller.watch(&connection.stream, number, interest, again)?;
        (connection.watched, connection.at) = (watched, at);
        Ok(())
    }

    /// Its poller reports the connection no more until that is parked again. Another thread than its worker's is to
    /// step it, and meanwhile that worker would be told of it again and again.
    pub(crate) fn mute(&self, connection: &mut Connection<Y::Stream>) {
        if connection.watched == Watched::Each {
            self.mute_in(&mut self.table(), connection);
        }
    }

    fn mute_in(&self, table: &mut Table<Y::Stream>, connection: &mut Connection<Y::Stream>) {
        // Fails only if it is not watched.
        let _ = self.poller.watch(&connection.stream, NOBODY, Interest::Nothing, true);
        table.free(connection.at);
        connection.watched = Watched::Once;
    }

    /// The same for the connection with this number, if its handler blocks the worker.
    pub(crate) fn mute_blocked(&self, number: u64) {
        self.slot.look_at(|connection| {
            let mut table = self.table();
            let is_it = table.at(number) == Some(connection.at);
            if is_it && connection.watched == Watched::Each {
                self.mute_in(&mut table, connection);
            }
        });
    }

    /// Its poller does not know the connection any more.
    pub(crate) fn forget(&self, connection: &mut Connection<Y::Stream>) {
        self.poller.forget(&connection.stream);
        if connection.watched == Watched::Each {
            self.table().free(connection.at);
        }
        connection.watched = Watched::No;
    }

    /// None if another thread has taken it.
    pub(crate) fn take(&self, number: u64) -> Option<Box<Connection<Y::Stream>>> {
        self.table().take(number)
    }

    /// The one that is due first, if it is.
    pub(crate) fn take_due(
        &self,
        config: &Config,
        now: Instant,
    ) -> Option<Box<Connection<Y::Stream>>> {
        self.table().take_due(config, now)
    }

    /// Any one.
    pub(crate) fn take_any(&self) -> Option<Box<Connection<Y::Stream>>> {
        self.table().take_any()
    }

    /// The numbers of all that are kept and ask nothing just now.
    pub(crate) fn resting(&self) -> Vec<u64> {
        self.table().resting()
    }

    /// The number of the one among them that has rested longest.
    pub(crate) fn rests_longest(&self, config: &Config) -> Option<u64> {
        self.table().rests_longest(config)
    }

    pub(crate) fn look_at(&self, number: u64, look: impl FnOnce(&mut Connection<Y::Stream>)) {
        if let Some(connection) = self.table().get_mut(number) {
            look(connection);
        }
    }

    /// None is due before.
    pub(crate) fn first_due(&self) -> Option<Instant> {
        self.table().first_due()
    }

    /// A line for each: its descriptor, what it waits for, for how many milliseconds it has, in how many
    /// it will not any longer, and what its handler waits for, if that has said so.
    pub(crate) fn lines(&self, config: &Config, now: Instant) -> String {
        let mut lines = String::new();
        let table = self.table();
        for connection in table.all() {
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
