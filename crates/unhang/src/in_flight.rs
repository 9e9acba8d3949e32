//! Who is waited for just now, for `unhang why` to ask: only the server itself knows what it is at
//! with a connection, and when it will give up.

use std::collections::HashMap;
use std::fmt::Write;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::serve::stream::Stream;

/// All waits of a server, by the descriptor of the connection. What needs no wait is never in it, nor
/// who is [idle](crate::serve::parked) or waits for a [handler](crate::thinking) that was handed over.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<HashMap<RawFd, Wait>>);

#[derive(Clone, Copy, Debug)]
struct Wait {
    for_what: For,
    since: Instant,
    until: Instant,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// The rest of the request.
    Request,
    Handler,
    /// The client to read its reply.
    Reader,
    /// The client to close, its answer being written.
    Close,
}

/// Who waits for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    /// A connection without a descriptor is simulated, and nobody's business.
    fd: Option<RawFd>,
    for_what: For,
    /// From now on, unless it is known.
    since: Option<Instant>,
}

impl Waiter {
    pub(crate) fn new(stream: &impl Stream, for_what: For) -> Self {
        Self { fd: stream.descriptor(), for_what, since: None }
    }

    pub(crate) fn since(self, since: Instant) -> Self {
        Self { since: Some(since), ..self }
    }
}

/// Takes the wait off when it is over.
pub(crate) struct Waiting {
    all: Arc<InFlight>,
    fd: Option<RawFd>,
}

impl InFlight {
    fn waits(&self) -> MutexGuard<'_, HashMap<RawFd, Wait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(self: &Arc<Self>, waiter: Waiter, until: Instant) -> Waiting {
        let Waiter { fd, for_what, since } = waiter;
        if let Some(fd) = fd {
            let since = since.unwrap_or_else(Instant::now);
            self.waits().insert(fd, Wait { for_what, since, until });
        }
        Waiting { all: Arc::clone(self), fd }
    }

    /// A line for each: its descriptor, what it waits for, for how many milliseconds it has, and in
    /// how many it will not any longer.
    pub(crate) fn lines(&self) -> String {
        let mut lines = String::new();
        for (fd, wait) in self.waits().iter() {
            write_line(&mut lines, *fd, wait.for_what, wait.since, wait.until);
        }
        lines
    }
}

/// One of [`InFlight::lines`].
pub(crate) fn write_line(
    lines: &mut String,
    fd: RawFd,
    for_what: For,
    since: Instant,
    until: Instant,
) {
    let now = Instant::now();
    let (since, left) = (now - since, until.saturating_duration_since(now));
    let (since, left) = (since.as_millis(), left.as_millis());
    // Into a string, which cannot fail.
    let _ = writeln!(lines, "{fd} {} {since} {left}", for_what.word());
}

impl For {
    fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Handler => "handler",
            Self::Reader => "reader",
            Self::Close => "close",
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(fd) = self.fd {
            self.all.waits().remove(&fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_told_for_as_long_as_it_lasts() {
        let all = Arc::new(InFlight::default());
        let waiter = Waiter { fd: Some(7), for_what: For::Handler, since: None };
        let wait = all.enter(waiter, Instant::now() + Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(all.lines(), "7 handler 3000 7000\n");
        drop(wait);
        assert_eq!(all.lines(), "");
    }
}
