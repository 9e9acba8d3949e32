//! A world of seeds: the serving core as it is, on a machine that a seed makes. Every client, handler and
//! trouble is drawn beforehand, with every byte and every pause; [`oracle`] knows what must never happen. As
//! no step takes time, every deadline is asked for to the millisecond. Connections that are kept for several
//! exchanges have worlds of their own: [`kept`].
//!
//! A seed that fails prints its story, and is told again with
//! `UNHANG_SEED=123 cargo test -p unhang --lib sim -- --nocapture`. `UNHANG_SEEDS=N` runs the
//! first so many seeds, `UNHANG_FOR=60s` as many as fit into that time, from a random one on.

mod client;
pub(crate) mod clock;
mod handler;
mod kept;
mod machine;
mod oracle;
mod plan;
#[cfg(test)]
mod regression;
#[cfg(test)]
mod seeds;
mod server;
pub(crate) mod socket;
mod story;
#[cfg(test)]
mod unobserved;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::event::{Cause, Event};
use crate::handler::Reply;
use crate::serve::Service;
use crate::serve::admission::Admission;
use crate::serve::alarm::Alarm;
use crate::serve::config::Config;
use crate::serve::events::Events;
use crate::wire::{OneShot, Wire};
use clock::sleep;
use machine::{Listener, Machine};
use plan::{Observer, Plan};
use server::Server;
use socket::{Facts, Socket};
#[cfg(test)]
use unobserved::Seen;

/// A world as its clients and its server see it.
struct World {
    plan: Plan,
    begun: Instant,
    /// Several, if they share the listener: as an old server and its successor do, or a child that has
    /// inherited it.
    servers: Vec<Server>,
    /// By client, once it is connected.
    sockets: Mutex<Vec<Option<Socket>>>,
    /// What must never have happened.
    violations: Mutex<Vec<String>>,
    /// How often it was said that the socket is lost.
    lost: Mutex<u32>,
    /// How often it ended how.
    endings: Mutex<BTreeMap<String, usize>>,
}

/// Longer than all deadlines of a world together: what is not over then, never will be.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Lives through a world, and notes in `violations` what was wrong with it.
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
        let begun = clock::now();
        let first = Listener::new(plan.backlog, plan.trouble, plan.seed);
        let listeners = (0..plan.servers).map(|nth| match nth {
            0 => Arc::clone(&first),
            _ => first.share(nth),
        });
        Self {
            begun,
            servers: listeners.map(|listener| Server::new(listener, &plan.limits)).collect(),
            sockets: Mutex::new(vec![None; plan.clients.len()]),
            violations: Mutex::default(),
            lost: Mutex::default(),
            endings: Mutex::default(),
            plan,
        }
    }

    /// Until the server has stopped and the last client has left.
    fn live(self: &Arc<Self>) {
        let clients: Vec<_> = (0..self.plan.clients.len())
            .map(|id| {
                let left = Arc::new(());
                let (world, stays) = (Arc::clone(self), Arc::clone(&left));
                clock::spawn(async move {
                    client::live(world, id).await;
                    drop(stays);
                });
                Arc::downgrade(&left)
            })
            .collect();
        let all_left = move || clients.iter().all(|client: &Weak<()>| client.strong_count() == 0);
        self.stop_when(all_left.clone());
        let served: Vec<_> =
            (0..self.servers.len()).map(|nth| self.servers[nth].serve(self.service(nth))).collect();
        let ended = || served.iter().all(|served| served.strong_count() == 0);
        let over = clock::run_until(|| ended() && all_left());
        if !over || clock::now() > self.begun + FOR_EVER {
            return self.violates("it does not end: somebody hangs");
        }
        // A handler that was told to end may be left, and tasks that still wanted to stop the server.
        clock::run_until(|| clock::tasks() == 0);
        oracle::after_all(self);
        if clock::tasks() > 0 {
            self.violates("a task is left");
        }
    }

    /// Stops the first server when the plan says so, and every other one when all clients have left.
    fn stop_when(self: &Arc<Self>, all_left: impl Fn() -> bool + Send + Sync + 'static) {
        let all_left = Arc::new(all_left);
        for nth in 0..self.servers.len() {
            let (world, all_left) = (Arc::clone(self), Arc::clone(&all_left));
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
        if let Some(at) = self.plan.shut {
            let world = Arc::clone(self);
            clock::spawn(async move {
                sleep(at).await;
                world.servers[0].listener.shut();
            });
        }
        if let Some((at, within)) = self.plan.hurry {
            let world = Arc::clone(self);
            clock::spawn(async move {
                sleep(at).await;
                world.servers[0].stop.begin(clock::now(), within);
            });
        }
    }

    fn service(self: &Arc<Self>, nth: usize) -> Service<impl crate::Handler + use<>, Machine> {
        let server = &self.servers[nth];
        let limits = self.plan.limits.clone();
        let (of_refusals, of_events) = (Arc::clone(self), Arc::clone(self));
        let refusal = move |cause: &Cause| {
            oracle::refusal(&of_refusals, nth, cause);
            of_refusals.plan.told(cause).map(Reply::from)
        };
        let mut admission = Admission::default();
        if !self.plan.uids.is_empty() || !self.plan.gids.is_empty() {
            admission.allow(self.plan.uids.clone(), self.plan.gids.clone());
        }
        let observer = move |event: &Event| {
            // The server forgives an observer that panics; the oracle must not be forgiven.
            if catch_unwind(AssertUnwindSafe(|| oracle::event(&of_events, nth, event))).is_err() {
                of_events.violates("the oracle panicked");
            }
            // There is no thread that tells it later: no time passes in this world.
            false
        };
        let world = Arc::clone(self);
        let handler = move |request| handler::answer(Arc::clone(&world), request);
        Service {
            system: Machine,
            config: Config {
                wire: Wire::OneShot(OneShot::new(self.plan.until)),
                refusal: Some(Box::new(refusal)),
                ..server.config(limits.clone(), self.plan.observer != Observer::Missing)
            },
            admission,
            handlers: server::handlers(handler, self.plan.workers),
            door: server.door(&limits),
            parked: server::parked(self.plan.workers),
            events: match self.plan.observer {
                Observer::Listens => Some(Events::new(Some(Box::new(observer)))),
                Observer::Blocks => Some(self.blocked_observer()),
                Observer::Missing => None,
            },
            alarm: Alarm::new(self.begun),
        }
    }

    /// The queue to an observer that blocks for ever at its first event, and that nothing more fits into.
    fn blocked_observer(self: &Arc<Self>) -> Arc<Events> {
        let events = Events::new(None);
        let blocked = Arc::clone(&events);
        let until = self.begun + FOR_EVER / 2;
        clock::spawn(async move {
            let event = || Event::Draining { open: 0, within: Duration::ZERO };
            while blocked.keep(event()).is_none() {}
            clock::block_until(until);
        });
        events
    }

    #[cfg(test)]
    fn seen(&self) -> Vec<Option<Seen>> {
        let seen = |socket: &Option<Socket>| {
            socket.as_ref().map(|socket| Seen::of(&socket.facts(), self.begun))
        };
        self.sockets.lock().unwrap().iter().map(seen).collect()
    }

    fn violates(&self, what: impl Into<String>) {
        self.violations.lock().unwrap().push(what.into());
    }

    /// When the drain of the server with this client is over.
    fn drained(&self, facts: &Facts) -> Option<Instant> {
        self.servers[facts.server].stop.end()
    }

    /// Whether accepting fails, more or less often.
    fn in_trouble(&self) -> bool {
        let since = clock::now() - self.begun;
        self.plan.trouble.is_some_and(|trouble| (trouble.begins..trouble.ends).contains(&since))
    }

    /// The connections that this server has, accepted and not closed.
    fn open(&self, server: usize) -> Vec<Socket> {
        let sockets = self.sockets.lock().unwrap();
        let is_its = |facts: &Facts| facts.is_open() && facts.server == server;
        sockets.iter().flatten().filter(|socket| is_its(&socket.facts())).cloned().collect()
    }
}
