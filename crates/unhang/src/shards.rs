//! The threads that accept, and answer at once whatever can be: all is well as long as they do it.
//!
//! A shard never waits for a client or a handler, and so has no timers: what would wait moves on to
//! the thread that keeps the deadlines. That one also takes the door over wherever a shard cannot go
//! on (no place, no descriptor, the end of the server), and looks after a client whose handler
//! blocks its shard.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::timeout;

use crate::limits::{HELD_UP, SHARD_STUCK};
use crate::serve::admission::Guest;
use crate::serve::parked::Idle;
use crate::serve::stream::{Lifeline, Rescued};
use crate::serve::waker::Bell;
use crate::standby::Standby;

/// All shards of a server.
pub(crate) struct Shards {
    pub(crate) all: Vec<Shard>,
    mode: AtomicU8,
    /// How often they were told to accept, and where those wait that are not to.
    opened: Mutex<u64>,
    moved: Condvar,
    /// For the thread that keeps the deadlines: a shard cannot go on.
    trouble: Notify,
    /// For the same: a shard has parked, or is back from a handler that blocked it.
    back: Notify,
    /// For the same: there is something to look after.
    busy: Notify,
    watched: AtomicBool,
    pub(crate) standby: Standby,
    /// Whom no shard needs to hold, as nothing has come from them.
    pub(crate) idle: Idle,
}

/// What is known of one shard outside of its thread.
pub(crate) struct Shard {
    bell: Bell,
    at_work: AtomicBool,
    pub(crate) stands_by: AtomicBool,
    parked: AtomicBool,
    slot: Mutex<Slot>,
}

/// Where a shard is with the exchange that it attempts.
#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    Inside(Inside),
    /// It is blocked, and its exchange was taken away from it.
    TakenAway,
}

/// The exchange that a shard is attempting.
pub(crate) struct Inside {
    pub(crate) lifeline: Option<Lifeline>,
    pub(crate) place: OwnedSemaphorePermit,
    pub(crate) guest: Guest,
    /// Whether it has been seen to block its shard.
    pub(crate) stuck: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// The shards accept.
    Open,
    /// They do not.
    Parked,
    /// They end.
    Over,
}

/// What a shard is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// So often it has been told so by now.
    Accept(u64),
    End,
}

impl Shards {
    /// # Errors
    /// When there is no descriptor for a bell, or for those who are idle.
    pub(crate) fn new(count: usize) -> std::io::Result<Self> {
        let all = (0..count).map(|_| Shard::new()).collect::<Result<_, _>>()?;
        Ok(Self {
            all,
            mode: AtomicU8::new(Mode::Parked as u8),
            opened: Mutex::new(0),
            moved: Condvar::new(),
            trouble: Notify::new(),
            back: Notify::new(),
            busy: Notify::new(),
            watched: AtomicBool::new(false),
            standby: Standby::default(),
            idle: Idle::new()?,
        })
    }

    pub(crate) fn mode(&self) -> Mode {
        match self.mode.load(Ordering::SeqCst) {
            mode if mode == Mode::Open as u8 => Mode::Open,
            mode if mode == Mode::Parked as u8 => Mode::Parked,
            _ => Mode::Over,
        }
    }

    fn set(&self, mode: Mode) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        *opened += u64::from(mode == Mode::Open);
        self.mode.store(mode as u8, Ordering::SeqCst);
        self.moved.notify_all();
        for shard in &self.all {
            shard.bell.ring();
        }
    }

    /// Has them accept.
    pub(crate) fn open(&self) {
        self.set(Mode::Open);
    }

    /// Has them accept no more, and waits until none does, but for those that are blocked by a handler.
    pub(crate) async fn park(&self) {
        self.set(Mode::Parked);
        while !self.all.iter().all(|shard| shard.is_parked() || shard.is_stuck()) {
            let _ = timeout(SHARD_STUCK, self.back.notified()).await;
        }
    }

    /// Ends the threads. One that is blocked ends when it is back.
    pub(crate) fn end(&self) {
        self.set(Mode::Over);
    }

    /// Waits until a shard cannot go on, or none is free to.
    pub(crate) async fn trouble(&self) {
        self.trouble.notified().await;
    }

    /// Waits until a shard may be free that was not.
    pub(crate) async fn back(&self) {
        self.back.notified().await;
    }

    /// Whether a shard could serve.
    pub(crate) fn one_is_free(&self) -> bool {
        self.all.iter().any(|shard| !shard.is_stuck())
    }

    /// Waits until a shard is at work. What it is at needs to be looked at from then on, until
    /// [`is_quiet`](Self::is_quiet).
    pub(crate) async fn at_work(&self) {
        self.busy.notified().await;
    }

    /// Whether no shard is at work. Then the next one that is, says so.
    pub(crate) fn is_quiet(&self) -> bool {
        self.watched.store(false, Ordering::SeqCst);
        let busy = self.all.iter().any(|shard| shard.at_work.load(Ordering::SeqCst));
        if busy {
            self.watched.store(true, Ordering::SeqCst);
        }
        !busy
    }

    /// Wakes a shard that waits, for clients whom one that is blocked was to accept.
    pub(crate) fn nudge(&self) {
        for shard in self.all.iter().filter(|shard| !shard.is_stuck()) {
            shard.bell.ring();
        }
    }

    /// A line as [`InFlight::lines`](crate::in_flight::InFlight::lines) has them, for each shard that
    /// a handler blocks and whose client is not answered yet.
    pub(crate) fn blocked(&self, deadline: Duration) -> String {
        let line = |shard: &Shard| match &*shard.slot() {
            Slot::Inside(inside) if inside.stuck => {
                let fd = inside.lifeline.as_ref()?.descriptor();
                let since = inside.guest.accepted.elapsed();
                let left = deadline.saturating_sub(since).as_millis();
                Some(format!("{fd} blocked {} {left}\n", since.as_millis()))
            }
            _ => None,
        };
        self.all.iter().filter_map(line).collect()
    }

    // From here on: what a shard says of itself.

    /// Waits until it is to accept again, after it was told so as often as `before`.
    pub(crate) fn wait_until_told(&self, shard: &Shard, before: u64) -> Told {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.told(shard, *opened, before) {
                Some(told) => return told,
                None => opened = self.moved.wait(opened).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The same without the wait, for a shard that is no thread.
    #[cfg(test)]
    pub(crate) fn ask(&self, shard: &Shard, before: u64) -> Option<Told> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        self.told(shard, *opened, before)
    }

    fn told(&self, shard: &Shard, opened: u64, before: u64) -> Option<Told> {
        match self.mode() {
            Mode::Over => Some(Told::End),
            Mode::Open if opened > before => {
                shard.parked.store(false, Ordering::SeqCst);
                Some(Told::Accept(opened))
            }
            _ => {
                shard.at_work.store(false, Ordering::SeqCst);
                if !shard.parked.swap(true, Ordering::SeqCst) {
                    self.back.notify_one();
                }
                None
            }
        }
    }

    /// From now on it has to be looked after.
    pub(crate) fn goes_to_work(&self, shard: &Shard) {
        shard.at_work.store(true, Ordering::SeqCst);
        // One of the two sees the other's store: no shard is at work unseen.
        if !self.watched.load(Ordering::SeqCst) && !self.watched.swap(true, Ordering::SeqCst) {
            self.busy.notify_one();
        }
    }

    /// It cannot accept any more.
    pub(crate) fn is_in_trouble(&self) {
        self.trouble.notify_one();
    }

    /// Gives the exchange that it was attempting; nothing when that was taken away from it.
    pub(crate) fn leave(&self, shard: &Shard) -> Option<Inside> {
        let inside = match std::mem::take(&mut *shard.slot()) {
            Slot::Inside(inside) => Some(inside),
            Slot::Empty | Slot::TakenAway => None,
        };
        if inside.as_ref().is_none_or(|inside| inside.stuck) {
            self.back.notify_one();
        }
        inside
    }
}

impl Shard {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            bell: Bell::new()?,
            at_work: AtomicBool::new(false),
            stands_by: AtomicBool::new(false),
            parked: AtomicBool::new(true),
            slot: Mutex::default(),
        })
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst)
    }

    /// For the thread that keeps the deadlines, which must not wait for one that has the lock and is
    /// not running just now: whoever has it is not stuck.
    fn look(&self) -> Option<MutexGuard<'_, Slot>> {
        self.slot.try_lock().ok()
    }

    fn is_stuck(&self) -> bool {
        match self.look().as_deref() {
            None | Some(Slot::Empty) => false,
            Some(Slot::Inside(inside)) => inside.stuck,
            Some(Slot::TakenAway) => true,
        }
    }

    pub(crate) fn stands_by(&self) -> bool {
        self.stands_by.load(Ordering::SeqCst)
    }

    /// Whether somebody who comes now is served by it, though perhaps not at once.
    pub(crate) fn could_serve(&self) -> bool {
        !self.stands_by() && !self.is_stuck()
    }

    /// It waits for clients.
    pub(crate) fn rests(&self) {
        self.at_work.store(false, Ordering::SeqCst);
    }

    /// It attempts an exchange.
    pub(crate) fn enter(&self, inside: Inside) {
        *self.slot() = Slot::Inside(inside);
    }

    /// Whether its exchange takes longer than most.
    pub(crate) fn is_held_up(&self) -> bool {
        match self.look().as_deref() {
            Some(Slot::Inside(inside)) => inside.guest.accepted.elapsed() >= HELD_UP,
            _ => false,
        }
    }

    /// Whether it has been blocked for so long that others are to go on without it.
    pub(crate) fn notice(&self) -> bool {
        match self.look().as_deref_mut() {
            None | Some(Slot::Empty) => false,
            Some(Slot::Inside(inside)) => {
                inside.stuck |= inside.guest.accepted.elapsed() >= SHARD_STUCK;
                inside.stuck
            }
            Some(Slot::TakenAway) => true,
        }
    }

    /// Takes its exchange away when that has been going on for so long, and has not begun to answer.
    /// Only one that was noticed before: after all threads were stopped, the clock alone says
    /// nothing.
    pub(crate) fn take_away(&self, after: Duration) -> Option<(Inside, Rescued)> {
        let mut slot = self.look()?;
        let Slot::Inside(inside) = &*slot else { return None };
        if !inside.stuck || inside.guest.accepted.elapsed() < after {
            return None;
        }
        let rescued = inside.lifeline.as_ref()?.take()?;
        match std::mem::replace(&mut *slot, Slot::TakenAway) {
            Slot::Inside(inside) => Some((inside, rescued)),
            Slot::Empty | Slot::TakenAway => None,
        }
    }
}

impl Inside {
    pub(crate) fn new(
        lifeline: Option<Lifeline>,
        place: OwnedSemaphorePermit,
        guest: Guest,
    ) -> Self {
        Self { lifeline, place, guest, stuck: false }
    }
}
