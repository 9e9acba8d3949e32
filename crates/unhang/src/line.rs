//! Connections that wait in line, each for something of its own, all with the same deadline: so who
//! came first is due first, and one timer does for all.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep_until};

use crate::gauges::Counted;
use crate::serve::admission::Guest;
use crate::serve::config::{Drain, later};

/// All who wait. Whoever takes one out goes on with it, and nobody else does.
pub(crate) struct Line<W> {
    waiting: Mutex<Waiting<W>>,
    /// For who looks after them: the first has come.
    first: Notify,
}

struct Waiting<W> {
    /// By their numbers: who came first is due first, or nearly so.
    all: BTreeMap<u64, InLine<W>>,
    next: u64,
}

/// One of them, with all that it has of the server.
pub(crate) struct InLine<W> {
    pub(crate) what: W,
    pub(crate) guest: Guest,
    pub(crate) place: OwnedSemaphorePermit,
    pub(crate) counted: Counted,
}

impl<W> Line<W> {
    pub(crate) fn new() -> Self {
        let waiting = Waiting { all: BTreeMap::new(), next: 0 };
        Self { waiting: Mutex::new(waiting), first: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<W>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By the number that it gets, it can be taken out again.
    pub(crate) fn enter(&self, one: InLine<W>) -> u64 {
        self.add(&mut self.waiting(), one)
    }

    /// Gives it back where `admit` will not have it. Nobody takes it out before that has been asked.
    pub(crate) fn enter_if(
        &self,
        one: InLine<W>,
        admit: impl FnOnce(u64, &W) -> bool,
    ) -> Result<(), InLine<W>> {
        let mut waiting = self.waiting();
        if !admit(waiting.next, &one.what) {
            return Err(one);
        }
        self.add(&mut waiting, one);
        Ok(())
    }

    fn add(&self, waiting: &mut Waiting<W>, one: InLine<W>) -> u64 {
        let number = waiting.next;
        waiting.next += 1;
        if waiting.all.is_empty() {
            self.first.notify_one();
        }
        waiting.all.insert(number, one);
        number
    }

    /// None where somebody else has taken it.
    pub(crate) fn take(&self, number: u64) -> Option<InLine<W>> {
        self.waiting().all.remove(&number)
    }

    /// Waits until one has been waiting for `deadline` since it was accepted, or the drain is over,
    /// and takes it out.
    pub(crate) async fn late(&self, deadline: Duration, drain: &mut Drain) -> InLine<W> {
        loop {
            let Some((number, accepted)) = self.oldest() else {
                self.first.notified().await;
                continue;
            };
            let due = later(accepted, deadline);
            let due = drain.end().map_or(due, |end| end.min(due));
            tokio::select! {
                biased;
                () = sleep_until(due) => {
                    if let Some(one) = self.take(number) {
                        return one;
                    }
                }
                () = drain.changed() => {}
            }
        }
    }

    fn oldest(&self) -> Option<(u64, Instant)> {
        let waiting = self.waiting();
        waiting.all.first_key_value().map(|(&number, one)| (number, one.guest.accepted))
    }

    /// Looks at each, with the moment from which it waits.
    pub(crate) fn each(&self, mut look: impl FnMut(&W, Instant)) {
        self.waiting().all.values().for_each(|one| look(&one.what, one.guest.accepted));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gauges::Gauges;
    use crate::limits::Limits;
    use crate::serve::admission::Places;
    use crate::serve::config;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn one(what: char) -> InLine<char> {
        let place = Places::new(&Limits::default()).try_take().unwrap();
        let counted = Gauges::default().connection();
        InLine { what, guest: Guest::new(None), place, counted }
    }

    fn enter(line: &Line<char>, what: char) -> u64 {
        line.enter(one(what))
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_late_at_its_own_deadline_and_only_if_nobody_took_it() {
        let (_stop, mut drain) = config::channel();
        let line = Arc::new(Line::new());
        let begun = Instant::now();
        let coming = Arc::clone(&line);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let [_, taken, _] = ['a', 'b', 'c'].map(|what| enter(&coming, what));
            tokio::time::sleep(Duration::from_secs(1)).await;
            enter(&coming, 'd');
            assert_eq!(coming.take(taken).unwrap().what, 'b');
            assert!(coming.take(taken).is_none(), "it is taken once");
        });
        let mut late = Vec::new();
        for _ in 0..3 {
            let one = line.late(DEADLINE, &mut drain).await;
            late.push((one.what, begun.elapsed().as_secs()));
        }
        assert_eq!(late, [('a', 11), ('c', 11), ('d', 12)]);
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_late_when_the_drain_is_over() {
        let (stop, mut drain) = config::channel();
        let line = Line::new();
        enter(&line, 'a');
        enter(&line, 'b');
        let begun = Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.begin(Duration::from_secs(2));
            std::future::pending::<()>().await;
        });
        assert_eq!(line.late(DEADLINE, &mut drain).await.what, 'a');
        assert_eq!(line.late(DEADLINE, &mut drain).await.what, 'b');
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
    }

    #[test]
    fn who_is_not_admitted_is_given_back() {
        let line = Line::new();
        assert_eq!(line.enter_if(one('a'), |_, _| false).err().unwrap().what, 'a');
        assert!(line.take(0).is_none());
    }
}
