//! From a service that was put together to one that serves: its parts, its threads, and their end.

use std::any::Any;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle as Runtime;

use super::Server;
use super::threads::{SignalThread, Workers};
use crate::error::Error;
use crate::event::Event;
use crate::gauges::Gauges;
use crate::handler::{Handler, Peer};
use crate::limits::Limits;
use crate::listen::Listener;
use crate::listen::control::Asked;
use crate::listen::watcher::Watcher;
use crate::serve::Service;
use crate::serve::admission::Places;
use crate::serve::alarm::Alarm;
use crate::serve::apart::Apart;
use crate::serve::bounds::Bounds;
use crate::serve::caught::caught;
use crate::serve::config::Config;
use crate::serve::door::{Acceptor, Door};
use crate::serve::events::Events;
use crate::serve::linux::Linux;
use crate::serve::parked::Parked;
use crate::serve::table::TABLES;
use crate::serve::watchdog::Watchdog;

/// How long a server that has ended waits for its observer to be told the rest.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Server {
    /// Serves on this thread, which keeps the deadlines.
    pub(super) fn serve_here(self, handler: impl Handler, handlers: Runtime) -> Result<(), Error> {
        let address = self.listener.address().clone();
        let failed = |step: &'static str| {
            let address = &address;
            move |error: io::Error| Error::setup(address, step, error)
        };
        let filter = self.filter;
        let events = self.observer.is_some().then(|| Events::new(filter));
        let (told, all_told) = std::sync::mpsc::channel::<()>();
        if let (Some(observer), Some(events)) = (self.observer, &events) {
            let started = events.start(observer, told);
            started.map_err(failed("start the thread of the observer"))?;
        }
        // Each worker needs a place of its own, and somewhere to go on with what waits.
        let threads = self.threads.min(self.limits.max_connections / 2).min(TABLES - 1);
        let listener = Arc::new(self.listener);
        let system = Linux { handlers };
        let places = Places::new(self.limits.max_connections, self.gauges.places());
        let handler = Arc::new(handler);
        let parked = (0..=threads)
            .map(|index| Parked::new(&system, u8::try_from(index).unwrap_or(u8::MAX)))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed("watch connections"))?;
        let service = Arc::new(Service {
            door: Door::new(&listener, places).map_err(failed("keep a reserve descriptor"))?,
            config: Config {
                bounds: (0..=threads).map(|_| bounds(&self.limits, &self.gauges)).collect(),
                wire: self.wire,
                refusal: self.refusal,
                calls: self.calls,
                names_peers: self.names_peers,
                is_observed: events.is_some(),
                stop: Arc::clone(&self.stop),
                limits: self.limits,
            },
            admission: self.admission,
            handlers: (0..=threads).map(|_| Arc::new(Apart(Arc::clone(&handler)))).collect(),
            parked,
            events: events.clone(),
            alarm: Alarm::new(Instant::now()),
            system,
        });
        let waker = Arc::downgrade(&service);
        self.stop.wakes(move || wake(&waker));
        let waker = Arc::downgrade(&service);
        service.door.places.wakes(move || wake(&waker));
        // All that needs a descriptor or a thread comes before the take-over: if it is missing, the old
        // server goes on.
        let signal = self
            .stop_when
            .map(SignalThread::new)
            .transpose()
            .map_err(failed("wait for the signal to stop"))?;
        let file_watcher =
            watch_file(&listener, &service).map_err(failed("watch the socket file"))?;
        let workers = Workers::start(threads, &service).map_err(failed("start the threads"))?;
        listener.serve_instead()?;
        let asked: Arc<dyn Asked> = Arc::clone(&service) as Arc<dyn Asked>;
        // Without it the server cannot be replaced, but serves.
        let _answers = listener.answer(Arc::downgrade(&asked));
        drop(asked);
        if threads > 0 {
            service.door.give_to(Acceptor::Workers);
            service.wake_workers();
        }
        let _signal = signal.map(|signal| signal.start(&service));
        Watchdog::new(Arc::clone(&service), listener, file_watcher, self.gauges.beat()).run();
        drop(workers);
        self.ended.send_replace(true);
        if let Some(events) = &events {
            events.end();
            let _ = all_told.recv_timeout(LAST_WORDS);
        }
        Ok(())
    }
}

fn bounds(limits: &Limits, gauges: &Gauges) -> Arc<Apart<Bounds>> {
    let bytes = (limits.max_held, gauges.held());
    Bounds::new(bytes, (limits.most_handlers(), gauges.running()))
}

fn wake<H: Handler>(service: &Weak<Service<H, Linux>>) {
    if let Some(service) = service.upgrade() {
        service.wake_watchdog();
    }
}

fn watch_file<H: Handler>(
    listener: &Arc<Listener>,
    service: &Arc<Service<H, Linux>>,
) -> io::Result<Option<Box<dyn Any + Send>>> {
    let Some(file) = listener.file() else { return Ok(None) };
    let service = Arc::downgrade(service);
    let tell = move |lost| {
        if let Some(service) = service.upgrade() {
            service.tell(Event::SocketLost(lost));
        }
    };
    let watcher = Watcher::keep(file.path.clone(), file.identity, tell)?;
    Ok(Some(Box::new(watcher)))
}

/// What the control socket asks of a server.
impl<H: Handler> Asked for Service<H, Linux> {
    fn waits(&self) -> Option<String> {
        Some(format!("{}\n{}", self.config.wire.name(), self.lines()))
    }

    fn call(&self, number: u32, within: Duration) -> String {
        let tells = self.config.calls.as_ref();
        let told = tells.and_then(|tell| caught(|| tell(number, within)).ok().flatten());
        told.unwrap_or_else(|| "there is no such call\n".to_owned())
    }

    fn replaced(&self, by: Option<Peer>) {
        self.tell(Event::Replaced { by });
        self.config.stop.begin(Instant::now(), self.config.limits.drain);
    }

    fn not_replaced(&self, by: Option<Peer>, error: &io::Error) {
        let error = Arc::new(io::Error::new(error.kind(), error.to_string()));
        self.tell(Event::NotReplaced { by, error });
    }
}
