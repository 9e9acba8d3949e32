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

/// Room for so many is kept when they are told.
const USUAL: usize = 1 << 10;

/// How long the observer's thread rests after it has told all there was. To be woken for each event would
/// cost the threads that serve more than the exchange that it tells of; a log that is five milliseconds
/// behind is not felt.
const REST: Duration = Duration::from_millis(5);

/// Looks at an event on the thread on which it happens, and says whether the observer is to be told.
pub(crate) type Filter = Box<dyn Fn(&Event) -> bool + Send + Sync>;

/// The events that the observer has not been told.
pub(crate) struct Events {
    state: Mutex<State>,
    more: Condvar,
    filter: Option<Filter>,
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
    pub(crate) fn new(filter: Option<Filter>) -> Arc<Self> {
        Arc::new(Self { filter, state: Mutex::default(), more: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the observer is to be told of it.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        // A filter that panics has not decided.
        let is_for_observer = |filter: &Filter| caught(|| filter(event)).unwrap_or(true);
        self.filter.as_ref().is_none_or(is_for_observer)
    }

    /// For the observer to be told of. Given back if there is no room for it.
    pub(crate) fn keep(&self, event: Event) -> Option<Event> {
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

    /// Puts all that wait into `told`, which is empty, and says how many were not kept. Nothing once there
    /// is an end.
    pub(crate) fn next(&self, told: &mut VecDeque<Event>) -> Option<u64> {
        // Its room is used again, unless it was an uncommon crowd that needed so much.
        told.shrink_to(USUAL);
        let mut state = self.lock();
        loop {
            if !state.waiting.is_empty() || state.dropped > 0 {
                std::mem::swap(&mut state.waiting, told);
                return Some(std::mem::take(&mut state.dropped));
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
            let mut waiting = VecDeque::new();
            while let Some(dropped) = events.next(&mut waiting) {
                let dropped = (dropped > 0).then_some(Event::Dropped { events: dropped });
                for event in waiting.drain(..).chain(dropped) {
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
        let events = Events::new(None);
        let event = || Event::Draining { open: 0, within: Duration::ZERO };
        for _ in 0..KEPT {
            assert!(events.keep(event()).is_none());
        }
        assert!(events.keep(event()).is_some());
        let mut told = VecDeque::new();
        assert_eq!((events.next(&mut told), told.len()), (Some(1), KEPT));
        events.end();
        told.clear();
        assert!(events.next(&mut told).is_none());
    }

    #[test]
    fn what_the_filter_holds_back_is_not_wanted_and_a_filter_that_panics_holds_nothing_back() {
        let filter = |event: &Event| match event {
            Event::Draining { open: 0, .. } => false,
            Event::Draining { open: 1, .. } => true,
            _ => panic!("it is told all the same"),
        };
        let events = Events::new(Some(Box::new(filter)));
        let draining = |open| Event::Draining { open, within: Duration::ZERO };
        assert!(!events.wants(&draining(0)) && events.wants(&draining(1)));
        assert!(events.wants(&Event::Dropped { events: 1 }));
    }
}
