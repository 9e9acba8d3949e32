//! Worlds in which connections are kept: several requests on each, in one write, in pieces or one after the
//! other, in every wire that keeps them. Here the promise is one more: **each request that the kernel took
//! from its client is answered or told, in order, and no client gets another's answer**, however its
//! connection comes to its end.

mod client;
mod handler;
mod oracle;
mod plan;
#[cfg(test)]
mod regression;
#[cfg(test)]
mod seeds;
mod speech;
mod story;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::event::{Event, Exchange};
use crate::serve::Service;
use crate::serve::admission::Admission;
use crate::serve::alarm::Alarm;
use crate::serve::config::Config;
use crate::serve::events::Events;

use super::clock::{self, sleep};
use super::machine::{Listener, Machine};
use super::server::{self, Server};
use super::socket::Socket;
#[cfg(test)]
use super::unobserved::Seen;
use plan::Plan;

/// A world as its clients and its servers see it.
struct World {
    plan: Plan,
    begun: Instant,
    /// Two, if they share the listener: as an old server and its successor do.
    servers: Vec<Server>,
    /// By client.
    clients: Mutex<Vec<Client>>,
    violations: Mutex<Vec<String>>,
    /// How often it ended how.
    endings: Mutex<BTreeMap<String, usize>>,
}

/// What happened to a client.
#[derive(Default)]
struct Client {
    /// Once it is connected.
    socket: Option<Socket>,
    /// Which of its requests its handler was asked, and when.
    asked: Vec<(usize, Instant)>,
    /// What its server told of it, and when.
    told: Vec<(Instant, Exchange)>,
}

/// Longer than all deadlines of a world together.
const FOR_EVER: Duration = Duration::from_secs(100);

fn run(plan: Plan) -> Arc<World> {
    clock::live(plan.seed, || {
        let world = Arc::new(World::new(plan));
        if catch_unwind(AssertUnwindSafe(|| world.live())).is_err() {
            world.violates("something panicked, see above");
        }
        world
    })
}

impl World {
    fn new(plan: Plan) -> Self {
        let first = Listener::new(plan.backlog, plan.trouble, plan.seed);
        let listeners = (0..plan.servers).map(|nth| match nth {
            0 => Arc::clone(&first),
            _ => first.share(nth),
        });
        Self {
            begun: clock::now(),
            servers: listeners.map(|listener| Server::new(listener, &plan.limits)).collect(),
            clients: Mutex::new(plan.clients.iter().map(|_| Client::default()).collect()),
            violations: Mutex::default(),
            endings: Mutex::default(),
            plan,
        }
    }

    /// Until the servers have stopped and the last client has left.
    fn live(self: &Arc<Self>) {
        let stays = Arc::new(());
        let all_left = Arc::downgrade(&stays);
        for id in 0..self.plan.clients.len() {
            let (world, stays) = (Arc::clone(self), Arc::clone(&stays));
            clock::spawn(async move {
                client::live(world, id).await;
                drop(stays);
            });
        }
        drop(stays);
        let all_left = move || all_left.strong_count() == 0;
        self.stop_when(&all_left);
        let served: Vec<_> =
            (0..self.servers.len()).map(|nth| self.servers[nth].serve(self.service(nth))).collect();
        let ended = || served.iter().all(|served: &Weak<()>| served.strong_count() == 0);
        let over = clock::run_until(|| ended() && all_left());
        if !over || clock::now() > self.begun + FOR_EVER {
            return self.violates("it does not end: somebody hangs");
        }
        clock::run_until(|| clock::tasks() == 0);
        oracle::after_all(self);
        if clock::tasks() > 0 {
            self.violates("a task is left");
        }
    }

    /// Stops the first server when the plan says so, and every other one when all clients have left.
    fn stop_when(self: &Arc<Self>, all_left: &(impl Fn() -> bool + Clone + Send + Sync + 'static)) {
        for nth in 0..self.servers.len() {
            let (world, all_left) = (Arc::clone(self), all_left.clone());
            clock::spawn(async move {
                match world.plan.stop.filter(|_| nth == 0) {
                    Some(at) => sleep(at).await,
                    None => {
                        while !all_left() && clock::now() < world.begun + FOR_EVER {
                            sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
                world.servers[nth].stop.begin(clock::now(), world.plan.limits.drain);
            });
        }
    }

    fn service(self: &Arc<Self>, nth: usize) -> Service<impl crate::Handler + use<>, Machine> {
        let (server, limits) = (&self.servers[nth], &self.plan.limits);
        let world = Arc::clone(self);
        let observer = move |event: &Event| {
            // The server forgives an observer that panics; the oracle must not be forgiven.
            if catch_unwind(AssertUnwindSafe(|| oracle::event(&world, event))).is_err() {
                world.violates("the oracle panicked");
            }
            false
        };
        let world = Arc::clone(self);
        let handler = move |request| handler::answer(Arc::clone(&world), request);
        Service {
            system: Machine,
            config: Config {
                wire: self.plan.speech.wire(),
                ..server.config(limits.clone(), self.plan.is_observed)
            },
            admission: Admission::default(),
            handlers: server::handlers(handler, self.plan.workers),
            door: server.door(limits),
            parked: server::parked(self.plan.workers),
            events: self.plan.is_observed.then(|| Events::new(Some(Box::new(observer)))),
            alarm: Alarm::new(self.begun),
        }
    }

    #[cfg(test)]
    fn seen(&self) -> Vec<Option<Seen>> {
        let seen = |client: &Client| {
            client.socket.as_ref().map(|socket| Seen::of(&socket.facts(), self.begun))
        };
        self.clients.lock().unwrap().iter().map(seen).collect()
    }

    fn violates(&self, what: impl Into<String>) {
        self.violations.lock().unwrap().push(what.into());
    }

    fn counts(&self, ending: &str) {
        *self.endings.lock().unwrap().entry(ending.into()).or_default() += 1;
    }
}
