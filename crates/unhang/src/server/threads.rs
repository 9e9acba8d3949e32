//! The threads of a server besides the one that keeps its deadlines: the workers, and the one that awaits
//! the signal to stop.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::handler::Handler;
use crate::serve::Service;
use crate::serve::caught::caught;
use crate::serve::linux::Linux;
use crate::serve::worker::Worker;

/// The threads of all workers. Dropped, they are waited for, but for those that a handler blocks.
pub(super) struct Workers<H: Handler> {
    service: Arc<Service<H, Linux>>,
    threads: Vec<JoinHandle<()>>,
}

impl<H: Handler> Workers<H> {
    pub(super) fn start(count: usize, service: &Arc<Service<H, Linux>>) -> io::Result<Self> {
        let mut workers = Self { service: Arc::clone(service), threads: Vec::new() };
        for index in 0..count {
            let worker = Worker::new(Arc::clone(service), index);
            let handlers = service.system.handlers.clone();
            let thread =
                thread::Builder::new().name(format!("unhang-{index}")).spawn(move || {
                    // Handlers begin here: their timers and sockets are those of the runtime that they go on in.
                    let _handlers = handlers.enter();
                    worker.run();
                })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

impl<H: Handler> Drop for Workers<H> {
    fn drop(&mut self) {
        self.service.end_workers();
        for (parked, thread) in self.service.parked.iter().zip(self.threads.drain(..)) {
            // A worker that is blocked by a handler may be so for ever.
            if !parked.slot.is_blocked() {
                let _ = thread.join();
            }
        }
    }
}

pub(super) type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The thread that awaits the signal to stop, until this is dropped.
pub(super) struct SignalThread {
    starts: Option<std::sync::mpsc::Sender<Box<dyn Fn() + Send>>>,
    _ends: oneshot::Sender<()>,
}

impl SignalThread {
    /// It begins to await it once it is [started](Self::start).
    pub(super) fn new(signal: Signal) -> io::Result<Self> {
        let (ends, ended) = oneshot::channel::<()>();
        let (starts, started) = std::sync::mpsc::channel::<Box<dyn Fn() + Send>>();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("unhang-signal".into()).spawn(move || {
            let Ok(stop) = started.recv() else { return };
            let awaited = caught(|| {
                runtime.block_on(async {
                    let mut ended = ended;
                    tokio::select! {
                        () = signal => {}
                        _ = &mut ended => return,
                    }
                    stop();
                    // Its tasks, such as one that awaits a second signal, go on until then.
                    let _ = ended.await;
                });
            });
            // A signal that panics can never be given again.
            if awaited.is_err() {
                stop();
            }
            // Work that it has left to threads is nobody's to wait for.
            runtime.shutdown_background();
        })?;
        Ok(Self { starts: Some(starts), _ends: ends })
    }

    pub(super) fn start<H: Handler>(mut self, service: &Arc<Service<H, Linux>>) -> Self {
        let service = Arc::downgrade(service);
        let stop = move || {
            if let Some(service) = service.upgrade() {
                let config = &service.config;
                config.stop.begin(Instant::now(), config.limits.drain);
            }
        };
        if let Some(starts) = self.starts.take() {
            let _ = starts.send(Box::new(stop));
        }
        self
    }
}
