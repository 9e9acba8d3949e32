//! One worker's end of the pipes, and one exchange over them.

use std::fs::File;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::frame::{Came, Frames, Id, Output};
use super::look;
use crate::backend::notice::{Notice, Notices, Why};

/// When we look for the first time whether a worker has read its request and waits for more. Most have
/// answered by then; a person notices no less than a tenth of a second.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// How much of a worker's output is read at once.
const PIECE: usize = 64 * 1024;

/// A worker that lives, as a request holds it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) pid: u32,
    pub(super) life: std::sync::Arc<Life>,
    pub(super) answered: u64,
    /// Whether its successor was ordered.
    pub(super) replaced: bool,
    stdin: ChildStdin,
    stdout: ChildStdout,
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
    pub(super) fn new(
        number: usize,
        pid: u32,
        life: std::sync::Arc<Life>,
        (stdin, stdout): (ChildStdin, ChildStdout),
    ) -> Self {
        let statm = File::open(format!("/proc/{pid}/statm")).ok();
        let output = Output::default();
        Self { number, pid, life, answered: 0, replaced: false, stdin, stdout, statm, output }
    }

    /// What it holds in memory, in bytes.
    pub(super) fn memory(&self) -> Option<u64> {
        look::resident(self.statm.as_ref()?)
    }

    /// Asks it, and reads its reply.
    pub(super) async fn exchange(
        &mut self,
        frames: Frames,
        id: Id,
        request: &[u8],
        deadline: Instant,
        notices: &Notices,
    ) -> Result<Vec<u8>, Broken> {
        let (worker, pid) = (self.number, self.pid);
        let stray = |line| notices.tell(Notice::Printed { worker, pid, line });
        let Self { stdin, stdout, output, .. } = self;
        let mut sent = 0;
        let mut patience = FIRST_LOOK;
        let mut look_at = (Instant::now() + patience).min(deadline);
        let mut timer = std::pin::pin!(sleep_until(look_at));
        loop {
            tokio::select! {
                // Written first: most requests are sent, and most waits begun, in one go.
                biased;
                written = stdin.write(&request[sent..]), if sent < request.len() => match written {
                    Ok(written) => sent += written,
                    Err(_) if sent == 0 => return Err(Broken::NotSent),
                    // It may have answered before it closed its input.
                    Err(_) => sent = request.len(),
                },
                read = read(stdout, &mut output.bytes) => {
                    if read == 0 {
                        output.rest(stray);
                        return Err(if sent == 0 { Broken::NotSent } else { Broken::Closed });
                    }
                    match output.reply(frames, id, stray) {
                        Came::Reply(reply) => return Ok(reply),
                        Came::TooLong => return Err(Broken::TooLong),
                        // One that prints for ever leaves the timer no turn.
                        Came::More if Instant::now() >= deadline => return Err(Broken::Late),
                        Came::More => {}
                    }
                }
                () = &mut timer => {
                    let now = Instant::now();
                    if now >= deadline {
                        return Err(Broken::Late);
                    }
                    if sent == request.len() && look::is_silent(pid, &*stdin, &*stdout) {
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
}

/// An error is none that a reader of a pipe could do anything about.
async fn read(stdout: &mut ChildStdout, bytes: &mut Vec<u8>) -> usize {
    if bytes.capacity() - bytes.len() < 4096 {
        bytes.reserve(PIECE);
    }
    stdout.read_buf(bytes).await.unwrap_or_default()
}
