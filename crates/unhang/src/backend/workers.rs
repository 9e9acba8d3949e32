//! Programs that live on and answer one request after another.

mod frame;
mod look;
mod pipes;
mod pool;
mod supervisor;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout};

pub use frame::Frames;
use frame::{Id, LONGEST_REPLY};
pub use pool::WorkerCounts;
use pool::{NoWorker, Pool};
use worker::{Ask, Broken, Order, Worker};

use super::command::Command;
use super::notice::{Notice, Why, refused};
use super::process::oom_kills;
use super::prompt::Prompt;
use super::terms::{Terms, terms};
use crate::handler::WaitsFor;
use crate::{Fault, Handler, Reply, Request};

/// How long we wait to learn why a worker has closed its output: it is about to end.
const LEARN: Duration = Duration::from_millis(500);

/// Programs that are started once, and answer one request after another.
///
/// A worker reads `ID request` and a newline on standard input, and writes `ID reply` and a newline on
/// standard output; the id is new with each request. Any other output is told as a
/// [`Notice`], and reaches no client. With [`Frames::Bytes`] it reads and writes `ID LENGTH`, a newline
/// and so many bytes. It ends when its input ends.
///
/// A worker that is late is ended with its process group, and another is started; its request is never
/// asked again, as it may have run.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use unhang::backend::{Command, Workers};
/// let workers = Workers::new(Command::new("php", ["worker.php"])?, 4).start().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Workers {
    shared: Arc<Shared>,
}

/// What a pool and the tasks that keep its processes share.
#[derive(Debug)]
struct Shared {
    command: Command,
    count: usize,
    frames: Frames,
    terms: Terms,
    max_requests: Option<u64>,
    max_memory: Option<u64>,
    oom_kills: Option<u64>,
    pool: Pool,
    prompt: Prompt,
    /// Closes when all processes have ended.
    ended: Mutex<mpsc::Receiver<()>>,
}

/// Workers that could not be started. `Display` says which, and why.
#[derive(Debug)]
pub struct NotStarted {
    command: String,
    worker: usize,
    why: String,
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, worker, why } = self;
        write!(f, "{command}: worker {worker} cannot be started: {why}")
    }
}

impl std::error::Error for NotStarted {}

impl Workers {
    /// So many processes of this command. None is started yet.
    pub fn new(mut command: Command, count: usize) -> Self {
        command.living_on();
        let (pool, ended) = Pool::new();
        let shared = Shared {
            command,
            count: count.max(1),
            frames: Frames::default(),
            terms: Terms::default(),
            max_requests: None,
            max_memory: None,
            oom_kills: oom_kills(),
            pool,
            prompt: Prompt::default(),
            ended: Mutex::new(ended),
        };
        Self { shared: Arc::new(shared) }
    }

    /// How requests and replies are delimited. Unless set, they are lines.
    #[must_use]
    pub fn frames(self, frames: Frames) -> Self {
        self.with(|shared| shared.frames = frames)
    }

    /// A worker that has answered so many requests is replaced: its successor is started first, and it
    /// may answer a few more meanwhile. Unless set, none is: a leak is the user's to know.
    #[must_use]
    pub fn max_requests(self, most: u64) -> Self {
        self.with(|shared| shared.max_requests = Some(most))
    }

    /// A worker that holds more memory than so many bytes after a reply is replaced likewise.
    #[must_use]
    pub fn max_memory(self, most: u64) -> Self {
        self.with(|shared| shared.max_memory = Some(most))
    }

    /// The socket's path, for the environment: `UNIXLOCALPATH`.
    #[must_use]
    pub fn serving(self, socket: impl Into<std::ffi::OsString>) -> Self {
        let socket = socket.into();
        self.with(|shared| shared.command.serving(socket))
    }

    /// Starts all workers, and waits until each waits for its first request, a second at most. One that
    /// takes longer for its start gets its first request when it is through with it, 30 s later at most.
    ///
    /// # Errors
    /// If one cannot be started, or ends before it was asked anything.
    pub async fn start(self) -> Result<Self, NotStarted> {
        let mut starting = Vec::new();
        for number in 1..=self.shared.count {
            let (first, started) = oneshot::channel();
            let Some(task) = self.shared.pool.task() else { break };
            tokio::spawn(supervisor::supervise(Arc::clone(&self.shared), number, first, task));
            starting.push((number, started));
        }
        for (worker, started) in starting {
            if let Ok(Err(why)) = started.await {
                self.end().await;
                let command = self.shared.command.to_string();
                return Err(NotStarted { command, worker, why });
            }
        }
        Ok(self)
    }

    /// Lets all workers end, and waits until they have: at the end of their input, else by SIGTERM and
    /// SIGKILL, some two seconds later at most.
    pub async fn end(&self) {
        self.shared.pool.close();
        let mut ended = self.shared.ended.lock().await;
        while ended.recv().await.is_some() {}
    }

    /// How many workers there are, by what they do.
    pub fn counts(&self) -> WorkerCounts {
        self.shared.pool.counts(self.shared.count)
    }

    /// How many requests wait for a worker.
    pub fn waiting(&self) -> usize {
        self.shared.pool.waiting()
    }
}

terms!(Workers);

impl Handler for Workers {
    async fn handle(&self, request: Request) -> Result<Reply, Fault> {
        let shared = &self.shared;
        let id = Id::new(fastrand::u64(..));
        let framed = shared.frames.request(id, request.bytes()).map_err(Fault::new)?;
        let telling = request.telling();
        drop(request);
        loop {
            telling.waits_for(WaitsFor::Place);
            let worker = shared
                .pool
                .take(shared.terms.queue, &shared.terms.notices)
                .await
                .map_err(|why| shared.told(why))?;
            telling.waits_for(WaitsFor::Process(worker.pid));
            let mut lease = Lease { shared, worker: Some(worker) };
            let Some(worker) = &mut lease.worker else { continue };
            let ask = Ask {
                frames: shared.frames,
                id,
                request: &framed,
                deadline: Instant::now() + shared.terms.deadline,
                notices: &shared.terms.notices,
            };
            match worker.exchange(&ask, &shared.prompt).await {
                Ok(reply) => {
                    lease.give_back();
                    return Ok(reply.into());
                }
                // It has not had any of it: another may be asked.
                Err(Broken::NotSent) => lease.end(Why::Unanswered),
                Err(broken) => return Err(lease.fault(broken).await),
            }
        }
    }
}

impl Shared {
    fn told(&self, why: NoWorker) -> Fault {
        let (told, code) = match why {
            NoWorker::AllBusy => {
                let (all, queue) = (self.count, self.terms.queue);
                let told = format!("busy: none of {all} workers was free within {queue:?}");
                (told, refused::BUSY)
            }
            NoWorker::AllDead => {
                let told = "no worker runs: all have ended, and are started again";
                (told.to_owned(), refused::ABSENT)
            }
            NoWorker::Stopping => ("the server stops".to_owned(), refused::STOPPING),
        };
        refused::fault(told, code)
    }
}

/// A worker while a request has it. However the request ends, its worker is given back or ended:
/// one that still answers an earlier request could be asked no other.
struct Lease<'a> {
    shared: &'a Shared,
    worker: Option<Worker>,
}

impl Lease<'_> {
    fn give_back(mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        worker.answered += 1;
        worker.life.has_answered.store(true, Ordering::Relaxed);
        if self.shared.max_requests.is_some_and(|most| worker.answered == most) {
            worker.life.order(Order::Replace(Why::MaxRequests));
        } else if let Some(most) = self.shared.max_memory {
            let held = worker.memory().filter(|held| *held > most);
            if let Some(held) = held.filter(|_| !worker.replaced) {
                worker.replaced = true;
                worker.life.order(Order::Replace(Why::Memory(held)));
            }
        }
        self.shared.pool.put(worker);
    }

    fn end(mut self, why: Why) {
        if let Some(worker) = self.worker.take() {
            worker.life.order(Order::End(why));
        }
    }

    /// Ends the worker, and says what its client is told.
    async fn fault(mut self, broken: Broken) -> Fault {
        let after = self.shared.terms.deadline;
        let (told, why) = match broken {
            Broken::Late => (
                format!("the worker took longer than {after:?}; the request may have run"),
                Why::Deadline { after, with: Vec::new() },
            ),
            Broken::Silent => ("the worker answered nothing".to_owned(), Why::Silent),
            Broken::TooLong => {
                (format!("the reply is longer than {LONGEST_REPLY} bytes"), Why::Unanswered)
            }
            Broken::Unheard(error) => (
                format!("cannot wait for the worker: {error}; the request may have run"),
                Why::Unanswered,
            ),
            Broken::Closed | Broken::NotSent => {
                let why = self.learn().await;
                if let Some(why) = why {
                    let told = why.for_client();
                    self.worker = None;
                    return refused::fault(
                        format!("the worker {told}; the request may have run"),
                        why.refused_as(),
                    );
                }
                let told = "the worker closed its output; the request may have run";
                (told.to_owned(), Why::Unanswered)
            }
        };
        let code = why.refused_as();
        self.end(why);
        refused::fault(told, code)
    }

    /// Why the worker has ended, if it ends now.
    async fn learn(&mut self) -> Option<Why> {
        let mut ended = self.worker.as_ref()?.life.ended.subscribe();
        let ended = timeout(LEARN, ended.wait_for(Option::is_some)).await;
        ended.ok()?.ok()?.clone()
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.life.order(Order::End(Why::Unanswered));
        }
    }
}
