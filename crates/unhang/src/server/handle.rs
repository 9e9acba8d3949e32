//! How a server is stopped from outside: by its handle, or by the drop of the future that serves.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::serve::config::Stop;

/// How long a future of [`Server::serve`](crate::Server::serve) that is dropped waits for the server's end.
const ABORT: Duration = Duration::from_secs(1);

/// Stops a server from anywhere.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    stop: Arc<Stop>,
    drain: Duration,
    ended: watch::Receiver<bool>,
}

impl ServerHandle {
    pub(super) fn new(stop: &Arc<Stop>, drain: Duration, ended: watch::Receiver<bool>) -> Self {
        Self { stop: Arc::clone(stop), drain, ended }
    }

    /// Begins to stop, as [`Server::stop_when`](crate::Server::stop_when) does.
    pub fn stop(&self) {
        self.stop.begin(Instant::now(), self.drain);
    }

    /// Stops, and waits until the server has ended.
    pub async fn shutdown(mut self) {
        self.stop();
        // An error says that the server was dropped.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

/// Stops the server when its future is dropped, and waits for that: for a socket that can be bound again.
pub(super) struct Abort {
    /// None once the server has ended.
    stop: Option<Arc<Stop>>,
    over: Receiver<()>,
}

impl Abort {
    /// With it comes what the thread of the server drops at its end.
    pub(super) fn new(stop: Arc<Stop>) -> (Self, Sender<()>) {
        let (ends, over) = channel();
        (Self { stop: Some(stop), over }, ends)
    }

    /// The server has ended.
    pub(super) fn disarm(mut self) {
        self.stop = None;
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        if let Some(stop) = &self.stop {
            stop.begin(Instant::now(), Duration::ZERO);
            let _ = self.over.recv_timeout(ABORT);
        }
    }
}
