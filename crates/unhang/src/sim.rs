//! A world in which everything goes wrong, and the promise must hold all the same.
//!
//! The real accept loop and the real connections serve simulated clients: over sockets without a
//! kernel, with the clock paused, so that time goes on only when nobody can do anything any more. A
//! seed decides every limit, every byte, every pause and every mischief; [`judge`] knows what must
//! never happen. As no step takes time, every deadline is asked for to the millisecond.
//!
//! A seed that fails prints its story, and is told again with
//! `UNHANG_SEED=123 cargo test -p unhang --lib sim -- --nocapture`. `UNHANG_SEEDS=N` runs the
//! first so many seeds, `UNHANG_FOR=60s` as many as fit into that time, from a random one on.

mod client;
mod handler;
mod judge;
mod lobby;
mod plan;
mod regression;
mod seeds;
mod shard;
mod story;
mod wire;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

use crate::budget::Budget;
use crate::event::{Cause, Event};
use crate::gauges::Gauges;
use crate::serve::admission::{Admission, Places};
use crate::serve::config;
use crate::serve::connection::Rules;
use crate::serve::door::Service;
use crate::shards::Shards;
use crate::spare::Spare;
use crate::thinking::{self, Thinking};
use lobby::{Door, Lobby};
use plan::Plan;
use wire::Wire;

/// A world as it is seen by those who live in it.
struct World {
    plan: Plan,
    begun: Instant,
    lobby: Lobby,
    /// By client, once it is connected.
    wires: Mutex<Vec<Option<Wire>>>,
    budget: Arc<Budget>,
    gauges: Gauges,
    drained: Mutex<Option<Instant>>,
    /// What must never have happened.
    blames: Mutex<Vec<String>>,
    /// How often it ended how.
    endings: Mutex<BTreeMap<String, usize>>,
}

/// Lives through a world, and says what was wrong with it in its blames.
fn run(plan: Plan) -> Arc<World> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let world = runtime.block_on(async { Arc::new(World::new(plan)) });
    let lived = catch_unwind(AssertUnwindSafe(|| runtime.block_on(live(&world))));
    if lived.is_err() {
        world.blame("something panicked, see above");
    }
    world
}

async fn live(world: &Arc<World>) {
    /// Longer than all deadlines of a world together: whatever is not over then, never will be.
    const FOR_EVER: Duration = Duration::from_secs(3600);
    if timeout(FOR_EVER, Arc::clone(world).serve()).await.is_err() {
        return world.blame("it does not end: somebody hangs");
    }
    judge::after_all(world);
    // The handlers that were ended are gone when they were polled once more.
    for _ in 0..4 {
        yield_now().await;
    }
    // A timer lives in the task that waits for it: no task, no timer.
    if Handle::current().metrics().num_alive_tasks() > 0 {
        world.blame("a task is left");
    }
}

impl World {
    fn new(plan: Plan) -> Self {
        let gauges = Gauges::default();
        Self {
            begun: Instant::now(),
            lobby: Lobby::new(plan.backlog, plan.seed),
            wires: Mutex::new(vec![None; plan.clients.len()]),
            budget: Budget::new(plan.limits.max_held, gauges.held()),
            gauges,
            drained: Mutex::new(None),
            blames: Mutex::default(),
            endings: Mutex::default(),
            plan,
        }
    }

    /// Until the server has stopped and the last client has left.
    async fn serve(self: Arc<Self>) {
        let mut clients = JoinSet::new();
        for id in 0..self.plan.clients.len() {
            clients.spawn(client::live(Arc::clone(&self), id));
        }
        let (stop, drain) = config::channel();
        let stop = Arc::new(stop);
        let world = Arc::clone(&self);
        let clients = tokio::spawn(async move { while clients.join_next().await.is_some() {} });
        let left = clients.abort_handle();
        let stop_when = async move {
            match world.plan.stop {
                Some(at) => sleep(at).await,
                None => {
                    while !left.is_finished() {
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
            world.drains_within(world.plan.limits.drain);
        };
        if let Some((at, within)) = self.plan.hurry {
            let (world, stop) = (Arc::clone(&self), Arc::clone(&stop));
            tokio::spawn(async move {
                sleep(at).await;
                world.drains_within(within);
                stop.begin(within);
            });
        }
        let service = self.service(drain);
        let shards = Arc::new(Shards::new(self.plan.shards).unwrap());
        for at in 0..self.plan.shards {
            let (world, service) = (Arc::clone(&self), Arc::new(service.copy()));
            tokio::spawn(shard::run(world, service, Arc::clone(&shards), at));
        }
        let service = Arc::new(service);
        let keeper = tokio::spawn(thinking::look_after(Arc::clone(&service)));
        let (door, spare) = (Door::new(Arc::clone(&self)), Spare::new().unwrap());
        service.run(door, spare, &shards, stop, stop_when).await;
        keeper.abort();
        shards.end();
        clients.await.unwrap();
        // Whoever still wanted to stop it finds that it has.
        sleep(Duration::from_secs(2)).await;
    }

    fn service(self: &Arc<Self>, drain: config::Drain) -> Service<impl crate::Handler + use<>> {
        let world = Arc::clone(self);
        let refusal = move |cause: &Cause| {
            judge::refusal(&world, cause);
            world.plan.told(cause).map(Into::into)
        };
        let rules = Rules {
            limits: self.plan.limits.clone(),
            budget: Arc::clone(&self.budget),
            until: self.plan.until,
            refusal: Arc::new(refusal),
            drain,
            in_flight: Arc::default(),
        };
        let mut admission = Admission::default();
        admission.allow(self.plan.uids.clone(), self.plan.gids.clone());
        let world = Arc::clone(self);
        let handler = move |request| handler::answer(Arc::clone(&world), request);
        let world = Arc::clone(self);
        let observer = Arc::new(move |event: &Event<'_>| {
            // The server forgives an observer that panics; the judge must not be forgiven.
            if catch_unwind(AssertUnwindSafe(|| judge::event(&world, event))).is_err() {
                world.blame("the judge panicked");
            }
        });
        Service {
            places: Arc::new(Places::new(&rules.limits)),
            rules: Arc::new(rules),
            admission: Arc::new(admission),
            gauges: self.gauges.clone(),
            handler: Arc::new(handler),
            handlers: Handle::current(),
            waiting_room: Handle::current(),
            thinking: Arc::new(Thinking::new()),
            observer,
            names_peers: true,
        }
    }

    fn blame(&self, what: impl Into<String>) {
        self.blames.lock().unwrap().push(what.into());
    }

    /// Says that a drain has begun: of several, the earliest end counts.
    fn drains_within(&self, within: Duration) {
        let end = Instant::now() + within;
        let mut drained = self.drained.lock().unwrap();
        *drained = Some(drained.map_or(end, |at| at.min(end)));
    }

    /// When the drain is over.
    fn drained(&self) -> Option<Instant> {
        *self.drained.lock().unwrap()
    }

    /// Whether accepting fails, more or less often.
    fn in_trouble(&self) -> bool {
        let now = self.begun.elapsed();
        self.plan.trouble.is_some_and(|trouble| (trouble.begins..trouble.ends).contains(&now))
    }

    /// The connections that the server has, accepted and not closed.
    fn open(&self) -> Vec<Wire> {
        let wires = self.wires.lock().unwrap();
        wires.iter().flatten().filter(|wire| wire.facts().is_open()).cloned().collect()
    }
}
