//! The fault table as far as a handler has a part in it: what the client sees, and what an observer
//! the server is told. The faults that any handler can meet are tested on the command.

mod clock;
mod copies;
mod handler;
mod leftovers;
mod promises;
mod reader;
mod stream;

use std::sync::mpsc::{Receiver, channel};

use unhang::{Event, Handler, Limits, Server};

use crate::support::{PATIENCE, Running, ask};

/// A server, and the log of its exchanges: how each ended.
struct Watched {
    server: Running,
    ends: Receiver<String>,
}

impl Watched {
    fn start(limits: Limits, handler: impl Handler) -> Self {
        let (sender, ends) = channel();
        let observer = move |event: &Event| {
            if let Event::Exchange(exchange) = event {
                // Fails if the test has ended.
                let _ = sender.send(format!("{:?}", exchange.ended));
            }
        };
        let change = |server: Server| server.limits(limits).observe(observer);
        Self { server: Running::start(change, handler), ends }
    }

    /// How the next exchange ended.
    fn next_end(&self) -> String {
        self.ends.recv_timeout(PATIENCE).unwrap()
    }

    /// What a client is told is what was expected, and the log has all of `parts`.
    #[track_caller]
    fn assert_told(&self, message: &str, told: &str, parts: &[&str]) {
        assert_eq!(ask(&self.server.path, message), told);
        let end = self.next_end();
        for part in parts {
            assert!(end.contains(part), "{part:?} is not in {end:?}");
        }
    }
}
