//! Who is waited for just now, for `unhang why` to ask: only the server itself knows what it is at
//! with a connection, and when it will give up.

use std::collections::HashMap;
use std::fmt::Write;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// All waits of a server, by the descriptor of the connection. What needs no wait is never in it.
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

/// Takes the wait off when it is over.
pub(crate) struct Waiting {
    all: Arc<InFlight>,
    fd: Option<RawFd>,
}

impl InFlight {
    fn waits(&self) -> MutexGuard<'_, HashMap<RawFd, Wait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection without a descriptor is simulated, and nobody's business.
    pub(crate) fn enter(self: &Arc<Self>, fd: Option<RawFd>, what: For, until: Instant) -> Waiting {
        if let Some(fd) = fd {
            self.waits().insert(fd, Wait { for_what: what, since: Instant::now(), until });
        }
        Waiting { all: Arc::clone(self), fd }
    }

    /// A line for each: its descriptor, what it waits for, for how many milliseconds it has, and in
    /// how many it will not any longer.
    pub(crate) fn lines(&self) -> String {
        let now = Instant::now();
        let mut lines = String::new();
        for (fd, wait) in self.waits().iter() {
            let (since, left) = (now - wait.since, wait.until.saturating_duration_since(now));
            let (since, left) = (since.as_millis(), left.as_millis());
            let _ = writeln!(lines, "{fd} {} {since} {left}", wait.for_what.word());
        }
        lines
    }
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
        let wait = all.enter(Some(7), For::Handler, Instant::now() + Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(all.lines(), "7 handler 3000 7000\n");
        drop(wait);
        assert_eq!(all.lines(), "");
    }
}
