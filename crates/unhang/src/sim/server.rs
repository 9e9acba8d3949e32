//! A server of a simulated world: its threads, each as a task, and what they share.

use std::iter::repeat_n;
use std::sync::{Arc, Weak};

use crate::gauges::Gauges;
use crate::handler::Handler;
use crate::limits::Limits;
use crate::serve::Service;
use crate::serve::admission::Places;
use crate::serve::apart::Apart;
use crate::serve::bounds::{Bounds, Share};
use crate::serve::config::{Config, Stop};
use crate::serve::door::{Acceptor, Door};
use crate::serve::parked::Parked;
use crate::serve::watchdog::Watchdog;
use crate::serve::worker::Worker;
use crate::wire::{OneShot, Until, Wire};

use super::clock;
use super::machine::{Listener, Machine};

/// What one server has of its own.
pub(super) struct Server {
    pub(super) listener: Arc<Listener>,
    pub(super) bounds: Arc<Apart<Bounds>>,
    pub(super) gauges: Gauges,
    pub(super) stop: Arc<Stop>,
}

/// One table for each worker, and one for the watchdog.
pub(super) fn parked(workers: usize) -> Vec<Parked<Machine>> {
    let table = |index| Parked::new(&Machine, u8::try_from(index).unwrap()).unwrap();
    (0..=workers).map(table).collect()
}

/// The same handler for each of them.
pub(super) fn handlers<H>(handler: H, workers: usize) -> Vec<Arc<Apart<Arc<H>>>> {
    repeat_n(Arc::new(Apart(Arc::new(handler))), workers + 1).collect()
}

impl Server {
    pub(super) fn new(listener: Arc<Listener>, limits: &Limits) -> Self {
        let gauges = Gauges::default();
        let bytes = (limits.max_held, gauges.held());
        let bounds = Bounds::new(bytes, (limits.most_handlers(), gauges.running()));
        Self { listener, bounds, gauges, stop: Stop::new(clock::now()) }
    }

    /// A one-shot one, that says of itself why it does not answer.
    pub(super) fn config(&self, limits: Limits, is_observed: bool) -> Config {
        Config {
            wire: Wire::OneShot(OneShot::new(Until::Dry)),
            refusal: None,
            calls: None,
            names_peers: true,
            is_observed,
            bounds: vec![Arc::clone(&self.bounds)],
            stop: Arc::clone(&self.stop),
            limits,
        }
    }

    pub(super) fn door(&self, limits: &Limits) -> Door<Machine> {
        let places = Places::new(limits.max_connections, self.gauges.places());
        Door::new(&self.listener, places).unwrap()
    }

    /// It is over when nobody has the result any more.
    pub(super) fn serve<H: Handler>(&self, service: Service<H, Machine>) -> Weak<()> {
        let workers = service.parked.len() - 1;
        let service = Arc::new(service);
        let waker = Arc::downgrade(&service);
        let wake = move || {
            if let Some(service) = waker.upgrade() {
                service.wake_watchdog();
            }
        };
        self.stop.wakes(wake.clone());
        service.door.places.wakes(wake);
        let alive = Arc::new(());
        for index in 0..workers {
            let (service, alive) = (Arc::clone(&service), Arc::clone(&alive));
            clock::spawn(async move {
                let mut worker = Worker::new(Arc::clone(&service), index);
                while worker.prepare() {
                    let (ready, waited) = service.parked[index].poller.report(None).await;
                    worker.turn(&ready, waited, clock::now());
                }
                drop(alive);
            });
        }
        if workers > 0 {
            service.door.give_to(Acceptor::Workers);
        }
        let watched = Arc::downgrade(&alive);
        let (listener, pulse) = (Arc::clone(&self.listener), self.gauges.beat());
        clock::spawn(async move {
            let mut watchdog = Watchdog::new(Arc::clone(&service), listener, None, pulse);
            let mut ready = Vec::new();
            while let Some(within) = watchdog.turn(&ready) {
                ready = service.parked[workers].poller.report(Some(within)).await.0;
            }
            drop(alive);
        });
        watched
    }

    /// Whether bytes are held by nobody.
    pub(super) fn holds_nothing(&self) -> bool {
        Share::default().grow_to(self.bounds.0.most_held, &self.bounds)
    }
}
