//! A process per request: standard input is the request, standard output the reply, exit code 0
//! means answered.

mod output;
mod run;

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::command::{Command, tell_client};
use super::notice::{Notice, refused};
use super::process::{Process, not_started, oom_kills};
use super::terms::{Terms, terms};
use crate::handler::{Telling, WaitsFor};
use crate::{Fault, Handler, Reply, Request};

/// Runs a program once for each request.
///
/// Standard input is a pipe with the request and its end; standard output is the reply, which is
/// whole when the program has ended **and** its output has, or one second after the program has
/// ended. An exit code of 0 means that the request was answered; with no output, the reply is a
/// newline. What a program prints on standard error is for the operator ([`Notice`]).
///
/// The first 64 KiB of a reply are held back, so that a failure can still be told as one; a longer
/// reply streams, and is cut by a reset if the program then fails.
///
/// In its environment are `PROTO=UNIX`, `UNIXREMOTEPID`, `UNIXREMOTEEUID` and `UNIXREMOTEEGID`,
/// the client's process, user and group as ucspi-unix names them, and `UNHANG_DEADLINE_MS`.
///
/// A client that leaves does not end its program: the request may be worth being carried out.
///
/// Its own deadlines are those of [`Limits`](crate::Limits), and the server's handler deadline has to be longer
/// than both together, or the server answers first and less precisely.
///
/// ```no_run
/// # fn main() -> Result<(), unhang::backend::CannotRun> {
/// use unhang::backend::{Command, Program};
/// let shouting = Program::new(Command::new("tr", ["a-z", "A-Z"])?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    shared: Arc<Shared>,
}

/// What all runs of a program share.
#[derive(Debug)]
struct Shared {
    command: Command,
    terms: Terms,
    processes: usize,
    /// One for each process that may run: given back when it was reaped, not when its client was
    /// answered, or processes that are stuck would pile up.
    places: Arc<Semaphore>,
    /// How many requests wait for one.
    waiting: AtomicUsize,
    /// True once the programs are to be ended.
    stop: watch::Sender<bool>,
    oom_kills: Option<u64>,
}

impl Program {
    /// Runs this command for each request.
    pub fn new(command: Command) -> Self {
        let processes = default_processes();
        let shared = Shared {
            command,
            terms: Terms::default(),
            processes,
            places: Arc::new(Semaphore::new(processes)),
            waiting: AtomicUsize::new(0),
            stop: watch::Sender::new(false),
            oom_kills: oom_kills(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// How many may run at once; other requests wait, first come first served. Unless set, four for
    /// each processor, and 16 at least: programs that compute gain nothing from more, programs that
    /// wait do.
    #[must_use]
    pub fn processes(self, most: usize) -> Self {
        let processes = most.clamp(1, Semaphore::MAX_PERMITS);
        self.with(|shared| {
            shared.processes = processes;
            shared.places = Arc::new(Semaphore::new(processes));
        })
    }

    /// The socket's path, for the environment: `UNIXLOCALPATH`.
    #[must_use]
    pub fn serving(self, socket: impl Into<OsString>) -> Self {
        let socket = socket.into();
        self.with(|shared| shared.command.serving(socket))
    }

    /// How many run, and how many requests wait until another has ended.
    pub fn counts(&self) -> (usize, usize) {
        let Shared { processes, places, waiting, .. } = &*self.shared;
        (processes - places.available_permits().min(*processes), waiting.load(Ordering::Relaxed))
    }

    /// Ends all programs that run, and waits until they are gone: SIGTERM, and a second later
    /// SIGKILL. Requests that come later are refused.
    pub async fn end(&self) {
        self.shared.stop.send_replace(true);

        let all = u32::try_from(self.shared.processes).unwrap_or(u32::MAX);
        // Each program holds a place until it is gone. The semaphore is never closed.
        let _ = self.shared.places.acquire_many(all).await;
    }
}

/// Four for each processor, and 16 at least: `Program::processes` says why.
fn default_processes() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (4 * processors).max(16)
}

/// A request that waits, until it is dropped: its client may be told first that the server stops.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn stops() -> Fault {
    refused::fault("the server stops", refused::STOPPING)
}

terms!(Program);

impl Handler for Program {
    async fn handle(&self, request: Request) -> Result<Reply, Fault> {
        let place = self.shared.place(&request.telling()).await?;
        // Started by the thread that has read the request, which it blocks for 60 to 170 µs: the
        // runtime's thread may keep everybody's deadlines.
        let answered = self.shared.start(request, place)?;
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Err(stops()),
        }
    }
}

impl Shared {
    async fn place(&self, telling: &Telling) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        telling.waits_for(WaitsFor::Place);
        let (begun, waits) = (Instant::now(), Waits::begin(&self.waiting));
        let place = timeout(self.terms.queue, Arc::clone(&self.places).acquire_owned()).await;
        drop(waits);
        self.terms.notices.tell(Notice::Waited { waited: begun.elapsed() });
        if let Ok(Ok(place)) = place {
            return Ok(place);
        }
        let (all, queue) = (self.processes, self.terms.queue);
        let told = format!("busy: all {all} programs run, and none ended within {queue:?}");
        Err(refused::fault(told, refused::BUSY))
    }

    fn start(
        self: &Arc<Self>,
        request: Request,
        place: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Result<Reply, Fault>>, Fault> {
        if *self.stop.borrow() {
            return Err(stops());
        }
        let mut command = self.command.process();
        tell_client(&mut command, request.peer(), self.terms.deadline);
        let handed_in = run::hand_in(&mut command, request.bytes());
        let started = handed_in.and_then(|()| Process::start(&mut command));
        // It has the program's end of the pipe open.
        drop(command);
        let (process, pipes) = started.map_err(|error| {
            let (told, error) = not_started(&self.command, &error);
            self.terms.notices.tell(Notice::NotStarted { worker: None, error });
            told
        })?;
        request.telling().waits_for(WaitsFor::Process(process.pid()));
        self.terms.notices.tell(Notice::Started { worker: None, pid: process.pid() });
        let (answer, answered) = oneshot::channel();
        let run = run::Run::new(Arc::clone(self), process, place);
        tokio::spawn(run.finish(pipes, request, answer));
        Ok(answered)
    }
}
