//! Exchanges whose handlers have not answered at once. They are nobody's task while they wait: the
//! handler's own task, when it ends, takes its exchange out of the line and goes on with it there and
//! then. Only one that would wait for its client as well, or is late, goes to the thread that keeps
//! the deadlines.

use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::yield_now;

use crate::attempt::attempt;
use crate::event::Exchange;
use crate::handler::Handler;
use crate::in_flight::{For, write_line};
use crate::isolate::{Pending, caught};
use crate::line::{InLine, Line};
use crate::serve::config::later;
use crate::serve::door::Service;

/// All of them.
pub(crate) struct Thinking(Line<Asked>);

/// What waits for a handler.
pub(crate) struct Asked {
    pub(crate) exchange: Pin<Box<dyn Future<Output = Exchange> + Send>>,
    /// Simulated connections have none.
    pub(crate) fd: Option<RawFd>,
}

impl Thinking {
    pub(crate) fn new() -> Self {
        Self(Line::new())
    }

    /// A line as [`InFlight::lines`](crate::in_flight::InFlight::lines) has them, for each.
    pub(crate) fn lines(&self, deadline: Duration) -> String {
        let mut lines = String::new();
        self.0.each(|asked, since| {
            let Some(fd) = asked.fd else { return };
            write_line(&mut lines, fd, For::Handler, since, later(since, deadline));
        });
        lines
    }
}

/// For ever: has each go on that is late, to hear so.
pub(crate) async fn look_after<H: Handler>(service: Arc<Service<H>>) {
    let mut drain = service.rules.drain.clone();
    loop {
        let late = service.thinking.0.late(service.rules.limits.handler, &mut drain).await;
        service.go_on(late.what.exchange, late.place, late.counted);
        // Many at once may not keep the thread from the others.
        yield_now().await;
    }
}

impl<H: Handler> Service<H> {
    /// Has the handler run to its end, and then its exchange go on.
    pub(crate) fn think(self: &Arc<Self>, handler: Pending, exchange: InLine<Asked>) {
        let number = self.thinking.0.enter(exchange);
        let done = Done { service: Arc::clone(self), number };
        self.handlers.spawn(async move {
            handler.run().await;
            drop(done);
        });
    }

    /// The same for one that is older than the last in line: it has a timer of its own.
    pub(crate) fn think_late(self: &Arc<Self>, handler: Pending, exchange: InLine<Asked>) {
        self.handlers.spawn(handler.run());
        self.go_on(exchange.what.exchange, exchange.place, exchange.counted);
    }

    fn answered(self: &Arc<Self>, exchange: InLine<Asked>) {
        let InLine { what: Asked { mut exchange, .. }, place, counted, .. } = exchange;
        match caught(|| attempt(exchange.as_mut())) {
            Ok(Poll::Ready(exchange)) => self.conclude(exchange),
            Ok(Poll::Pending) => self.go_on(exchange, place, counted),
            // The connection is closed with it.
            Err(_) => {}
        }
    }
}

/// Has the exchange go on when its handler's task is over, also where that is thrown away with its
/// runtime.
struct Done<H: Handler> {
    service: Arc<Service<H>>,
    number: u64,
}

impl<H: Handler> Drop for Done<H> {
    fn drop(&mut self) {
        if let Some(exchange) = self.service.thinking.0.take(self.number) {
            self.service.answered(exchange);
        }
    }
}
