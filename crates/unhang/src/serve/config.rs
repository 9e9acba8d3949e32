//! The end of a server, as its connections see it: a moment by which they must be done.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Tells every connection when the drain is over.
#[derive(Debug)]
pub(crate) struct Stop(watch::Sender<Option<Instant>>);

/// Listens for it.
#[derive(Clone, Debug)]
pub(crate) struct Drain(watch::Receiver<Option<Instant>>);

pub(crate) fn channel() -> (Stop, Drain) {
    let (sender, receiver) = watch::channel(None);
    (Stop(sender), Drain(receiver))
}

impl Stop {
    /// Begins a drain that is over after `within`; an earlier end already set stays.
    pub(crate) fn begin(&self, within: Duration) {
        let end = after(within);
        self.0.send_if_modified(|at| {
            let sooner = at.is_none_or(|at| end < at);
            if sooner {
                *at = Some(end);
            }
            sooner
        });
    }
}

impl Drain {
    /// Waits until a drain has begun.
    pub(crate) async fn begun(&mut self) {
        // An error says that whoever could stop the server is gone: nobody will.
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the drain is over.
    pub(crate) fn is_over(&self) -> bool {
        self.0.borrow().is_some_and(|end| end <= Instant::now())
    }

    /// When it is over, as far as is known now.
    pub(crate) fn end(&mut self) -> Option<Instant> {
        *self.0.borrow_and_update()
    }

    /// Waits until that has changed.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the drain is over.
    pub(crate) async fn over(&mut self) {
        loop {
            self.begun().await;
            let end = self.end().unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                () = sleep_until(end) => return,
                () = self.changed() => {}
            }
        }
    }
}

/// That much later than now.
pub(crate) fn after(duration: Duration) -> Instant {
    later(Instant::now(), duration)
}

/// That much later than then. A duration that no clock can hold counts as thirty years.
pub(crate) fn later(then: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    then + duration.min(FAR)
}
