//! Tells the observer what happens, on a thread of its own: nothing that serves or stops waits for it.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::Event;
use crate::serve::caught::caught;

pub(crate) type Observer = Box<dyn FnMut(&Event) + Send>;

/// So many events are kept for an observer that is slow. That is a second of a busy server's; each takes
/// some 200 bytes.
const KEPT: usize = 1 << 16;

/// How long the observer's thread rests after it has told all there was. To be woken for each event would
/// cost the threads that serve more than the exchange that it tells of; a log that is five milliseconds
/// behind is not felt.
const REST: Duration = Duration::from_millis(5);

#[cfg(any(test, fuzzing))]
type AtOnce = Box<dyn Fn(&Event) + Send + Sync>;

/// The events that the observer has not been told.
pub(crate) struct Events {
    state: Mutex<State>,
    more: Condvar,
    /// In a simulated world the observer is told at once: no time passes there.
    #[cfg(any(test, fuzzing))]
    at_once: Option<AtOnce>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Event>,
    dropped: u64,
    /// Its thread sleeps until it is woken.
    sleeps: bool,
    over: bool,
}

impl Events {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            more: Condvar::new(),
            #[cfg(any(test, fuzzing))]
            at_once: None,
        })
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn told_at_once(observer: impl Fn(&Event) + Send + Sync + 'static) -> Arc<Self> {
        let (state, more) = (Mutex::default(), Condvar::new());
        Arc::new(Self { state, more, at_once: Some(Box::new(observer)) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Given back if it is not kept.
    pub(crate) fn tell(&self, event: Event) -> Option<Event> {
        #[cfg(any(test, fuzzing))]
        if let Some(observer) = &self.at_once {
            observer(&event);
            return None;
        }
        let mut state = self.lock();
        if state.waiting.len() >= KEPT || state.over {
            state.dropped += 1;
            return Some(event);
        }
        state.waiting.push_back(event);
        if std::mem::take(&mut state.sleeps) {
            self.more.notify_one();
        }
        None
    }

    /// No more will come.
    pub(crate) fn end(&self) {
        self.lock().over = true;
        self.more.notify_one();
    }

    /// All that wait, and how many were not kept. Nothing once there is an end.
    pub(crate) fn next(&self) -> Option<(VecDeque<Event>, u64)> {
        let mut state = self.lock();
        loop {
            if !state.waiting.is_empty() || state.dropped > 0 {
                let waiting = std::mem::take(&mut state.waiting);
                return Some((waiting, std::mem::take(&mut state.dropped)));
            }
            if state.over {
                return None;
            }
            state.sleeps = true;
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Rests, unless the end has come.
    fn rest(&self) {
        let state = self.lock();
        if !state.over {
            let _ = self.more.wait_timeout(state, REST);
        }
    }

    /// Has the observer told on a thread of its own, which drops `told` at the end.
    pub(crate) fn start(
        self: &Arc<Self>,
        mut observer: Observer,
        told: Sender<()>,
    ) -> io::Result<()> {
        let events = Arc::clone(self);
        std::thread::Builder::new().name("unhang-events".into()).spawn(move || {
            while let Some((waiting, dropped)) = events.next() {
                let dropped = (dropped > 0).then_some(Event::Dropped { events: dropped });
                for event in waiting.into_iter().chain(dropped) {
                    // An observer that panics costs its own line; so does an error in the event that does.
                    let _ = caught(|| observer(&event));
                    let _ = caught(|| drop(event));
                }
                events.rest();
            }
            drop(told);
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_counted() {
        let events = Events::new();
        let event = || Event::Draining { open: 0, within: Duration::ZERO };
        for _ in 0..KEPT {
            assert!(events.tell(event()).is_none());
        }
        assert!(events.tell(event()).is_some());
        let (waiting, dropped) = events.next().unwrap();
        assert_eq!((waiting.len(), dropped), (KEPT, 1));
        events.end();
        assert!(events.next().is_none());
    }
}
