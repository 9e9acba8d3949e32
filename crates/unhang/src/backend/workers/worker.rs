//! One worker's end of the pipes, and one exchange over them.

use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::frame::{Came, Frames, Id, Output};
use super::look;
use super::pipes::{Pipes, make_room};
use crate::backend::notice::{Notice, Notices, Why};
use crate::backend::prompt::{Prompt, may_block};

/// When we look for the first time whether a worker has read its request and waits for more. Most have
/// answered by then; a person notices no less than a tenth of a second.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// A worker that lives, as a request holds it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) pid: u32,
    pub(super) life: std::sync::Arc<Life>,
    pub(super) answered: u64,
    /// Whether its successor was ordered.
    pub(super) replaced: bool,
    pipes: Pipes,
    statm: Option<File>,
    output: Output,
}

/// What a worker's pipes and the task that keeps its process tell each other.
#[derive(Debug)]
pub(super) struct Life {
    /// Whether it may get no more requests.
    pub(super) is_over: AtomicBool,
    pub(super) has_answered: AtomicBool,
    /// Why it is to be ended at once, or to be replaced.
    order: Mutex<Option<Order>>,
    ordered: Notify,
    /// Why it has ended, as soon as it has.
    pub(super) ended: watch::Sender<Option<Why>>,
}

/// What is to become of a worker's process.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Ended now, with its group.
    End(Why),
    /// Replaced, as soon as its successor can answer.
    Replace(Why),
}

/// What a worker is asked.
pub(super) struct Ask<'a> {
    pub(super) frames: Frames,
    pub(super) id: Id,
    /// With its frame.
    pub(super) request: &'a [u8],
    pub(super) deadline: Instant,
    pub(super) notices: &'a Notices,
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Broken {
    /// It has not had a byte of the request.
    NotSent,
    Late,
    Silent,
    /// It has closed its output.
    Closed,
    TooLong,
    /// The runtime cannot wait for it: there is no descriptor or memory left for that.
    Unheard(io::Error),
}

impl Life {
    pub(super) fn new() -> Self {
        Self {
            is_over: AtomicBool::new(false),
            has_answered: AtomicBool::new(false),
            order: Mutex::new(None),
            ordered: Notify::new(),
            ended: watch::Sender::new(None),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    pub(super) fn order(&self, order: Order) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        self.ordered.notify_one();
    }

    pub(super) async fn ordered(&self) -> Order {
        loop {
            if let Some(order) = self.order.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return order;
            }
            self.ordered.notified().await;
        }
    }
}

impl Worker {
    pub(super) fn new(number: usize, pid: u32, life: std::sync::Arc<Life>, pipes: Pipes) -> Self {
        let statm = File::open(format!("/proc/{pid}/statm")).ok();
        let output = Output::default();
        Self { number, pid, life, answered: 0, replaced: false, pipes, statm, output }
    }

    /// What it holds in memory, in bytes.
    pub(super) fn memory(&self) -> Option<u64> {
        look::resident(self.statm.as_ref()?)
    }

    /// Asks it, and reads its reply: on this thread, if it is likely to come at once.
    pub(super) async fn exchange(
        &mut self,
        ask: &Ask<'_>,
        prompt: &Prompt,
    ) -> Result<Vec<u8>, Broken> {
        let sent = self.pipes.write(ask.request).map_err(|_| Broken::NotSent)?;
        if sent == ask.request.len() && may_block() {
            let mut came = None;
            prompt.attempt(|within| {
                came = self.await_reply(ask, within);
                came.is_some()
            });
            if let Some(came) = came {
                self.pipes.unwatch();
                return came;
            }
        }
        self.await_in_runtime(ask, sent).await
    }

    /// Waits for the reply on this thread, for so long at most.
    fn await_reply(&mut self, ask: &Ask<'_>, within: Duration) -> Option<Result<Vec<u8>, Broken>> {
        let until = Instant::now() + within;
        // A worker on our own processor answers meanwhile: that saves the wait.
        std::thread::yield_now();
        loop {
            if let Some(read) = self.pipes.read(&mut self.output.bytes) {
                let came = self.came(read, ask, ask.request.len());
                if came.is_some() {
                    return came;
                }
            }
            // Some write their reply in pieces.
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.pipes.await_output(left) {
                return None;
            }
        }
    }

    /// Writes what is left of the request, and waits for the reply.
    async fn await_in_runtime(
        &mut self,
        ask: &Ask<'_>,
        mut sent: usize,
    ) -> Result<Vec<u8>, Broken> {
        let (request, deadline) = (ask.request, ask.deadline);
        let mut patience = FIRST_LOOK;
        let mut look_at = (Instant::now() + patience).min(deadline);
        let mut timer = std::pin::pin!(sleep_until(look_at));
        loop {
            let (stdin, stdout) = self.pipes.watch().map_err(Broken::Unheard)?;
            tokio::select! {
                // Written first: most requests are sent, and most waits begun, in one go.
                biased;
                written = stdin.write(&request[sent..]), if sent < request.len() => match written {
                    Ok(written) => sent += written,
                    Err(_) if sent == 0 => return Err(Broken::NotSent),
                    // It may have answered before it closed its input.
                    Err(_) => sent = request.len(),
                },
                read = read(stdout, &mut self.output.bytes) => match self.came(read, ask, sent) {
                    Some(came) => return came,
                    // One that prints for ever leaves the timer no turn.
                    None if Instant::now() >= deadline => return Err(Broken::Late),
                    None => {}
                },
                () = &mut timer => {
                    let now = Instant::now();
                    if now >= deadline {
                        return Err(Broken::Late);
                    }
                    if sent == request.len() && look::is_silent(self.pid, &*stdin, &*stdout) {
                        return Err(Broken::Silent);
                    }
                    // A state that has not come after a while need not be looked for often.
                    patience = (2 * patience).min(Duration::from_secs(1));
                    look_at = (now + patience).min(deadline);
                    timer.as_mut().reset(look_at);
                }
            }
        }
    }

    /// What so many more bytes have come to; 0 are the end. Nothing, if the reply is not whole.
    fn came(&mut self, read: usize, ask: &Ask<'_>, sent: usize) -> Option<Result<Vec<u8>, Broken>> {
        let (worker, pid) = (self.number, self.pid);
        let stray = |line| ask.notices.tell(Notice::Printed { worker, pid, line });
        if read == 0 {
            self.output.rest(stray);
            return Some(Err(if sent == 0 { Broken::NotSent } else { Broken::Closed }));
        }
        match self.output.reply(ask.frames, ask.id, stray) {
            Came::Reply(reply) => Some(Ok(reply)),
            Came::TooLong => Some(Err(Broken::TooLong)),
            Came::More => None,
        }
    }
}

/// An error is none that a reader of a pipe could do anything about.
async fn read(stdout: &mut Receiver, bytes: &mut Vec<u8>) -> usize {
    make_room(bytes);
    stdout.read_buf(bytes).await.unwrap_or_default()
}
