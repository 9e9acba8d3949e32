//! Keeps one worker running: starts it, hears its complaints, and starts another when it has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::look::{self, Activity};
use super::pipes::Pipes;
use super::worker::{Life, Order, Worker};
use crate::backend::lines::{BREATH, COMPLAINT, Lines, MUCH, Tail};
use crate::backend::notice::{Notice, Why};
use crate::backend::process::{Process, not_started, why};

/// Before the second start of a worker that dies without having answered; each further one waits twice
/// as long, to `LONGEST_PAUSE`. The first is at once: most die of one request.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A new worker is asked when it waits for its first request. One that is never seen to wait, as its
/// program waits in its own way, is asked when it has done nothing for so long.
const READY: Duration = Duration::from_secs(1);
/// A worker is asked after so long, whatever it does. Large frameworks need 10 to 20 s for their start on
/// a busy machine.
const LONGEST_START: Duration = Duration::from_secs(30);
/// Between two looks at a worker that starts.
const LOOK: Duration = Duration::from_millis(5);
const LATER_LOOK: Duration = Duration::from_millis(50);

/// How long a worker may take to end when its input has ended. All six languages take 20 ms at most.
const LEAVE: Duration = Duration::from_secs(1);

/// A worker's process, and what it complains of.
struct Kept {
    number: usize,
    process: Process,
    stderr: ChildStderr,
    lines: Lines,
    tail: Tail,
    life: Arc<Life>,
}

/// What ends a worker's time.
enum Turn {
    Ended(Why),
    Ordered(Order),
    Closing,
}

/// Keeps the worker with this number until the pool closes. `first` is told whether it could be started,
/// and did not end before it was asked anything.
pub(super) async fn supervise(
    shared: Arc<Shared>,
    number: usize,
    first: oneshot::Sender<Result<(), String>>,
    task: mpsc::Sender<()>,
) {
    let mut first = Some(first);
    let mut failures = 0;
    let mut before: Option<(Kept, Why)> = None;
    shared.pool.one_more_alive();
    loop {
        let has_predecessor = before.is_some();
        if !has_predecessor {
            shared.pool.starts();
        }
        let started = start(&shared, number, &mut first).await;
        if !has_predecessor {
            shared.pool.has_started();
        }
        if let Some((old, why)) = before.take() {
            // Only now, so that there is never one less; also if its successor failed.
            let shared = Arc::clone(&shared);
            shared.pool.forget(&old.life);
            tokio::spawn(leave(shared, old, why, task.clone()));
        }
        match started {
            Ok((mut kept, worker)) => {
                if let Some(first) = first.take() {
                    let _ = first.send(Ok(()));
                }
                let life = Arc::clone(&worker.life);
                shared.pool.put(worker);
                let turn = kept.turn(&shared).await;
                match turn {
                    Turn::Ended(why) => {
                        shared.pool.forget(&life);
                        kept.tell_end(&shared, why);
                    }
                    Turn::Ordered(Order::End(why)) => {
                        shared.pool.forget(&life);
                        tokio::spawn(end(Arc::clone(&shared), kept, why, task.clone()));
                    }
                    Turn::Ordered(Order::Replace(why)) => {
                        before = Some((kept, why));
                        continue;
                    }
                    Turn::Closing => {
                        leave(shared, kept, Why::Stopping, task).await;
                        return;
                    }
                }
                if life.has_answered.load(Ordering::Relaxed) {
                    failures = 0;
                    continue;
                }
            }
            Err(error) => {
                if let Some(first) = first.take() {
                    let _ = first.send(Err(error));
                    return;
                }
                shared.terms.notices.tell(Notice::NotStarted { worker: Some(number), error });
            }
        }
        failures += 1;
        if failures > 1 && !pause(&shared, failures).await {
            return;
        }
    }
}

/// Leaves a worker alone for a while that dies again and again. False once the pool closes.
async fn pause(shared: &Shared, failures: u32) -> bool {
    let pause = PAUSE.saturating_mul(1 << (failures - 2).min(16)).min(LONGEST_PAUSE);
    let mut closing = shared.pool.closing.subscribe();
    shared.pool.one_less_alive();
    tokio::select! {
        () = sleep(pause) => {}
        _ = closing.wait_for(|closing| *closing) => return false,
    }
    shared.pool.one_more_alive();
    true
}

/// Starts a worker and waits until it is through with its start. Asked before, it would be late by no fault
/// of its own, and be ended for that just as it is ready: on a busy machine no worker would ever answer.
/// `first` is not kept waiting for a start that takes long.
async fn start(
    shared: &Shared,
    number: usize,
    first: &mut Option<oneshot::Sender<Result<(), String>>>,
) -> Result<(Kept, Worker), String> {
    let (process, pipes) = Process::start(&mut shared.command.process())
        .map_err(|error| not_started(&shared.command, &error).1)?;
    let (pid, life) = (process.pid(), Arc::new(Life::new()));
    shared.terms.notices.tell(Notice::Started { worker: Some(number), pid });
    let stdin = pipes.stdin.ok_or("it has no standard input")?;
    let ours = Pipes::new(stdin, pipes.stdout).map_err(|error| error.to_string())?;
    let worker = Worker::new(number, pid, Arc::clone(&life), ours);
    let (lines, tail) = (Lines::limited(), Tail::default());
    let mut kept = Kept { number, process, stderr: pipes.stderr, lines, tail, life };
    let begun = Instant::now();
    let mut worked = begun;
    while begun.elapsed() < LONGEST_START {
        match look::at_start(pid) {
            Activity::Waits => break,
            Activity::Works => worked = Instant::now(),
            Activity::Rests if worked.elapsed() >= READY => break,
            Activity::Rests => {}
        }
        let takes_long = begun.elapsed() >= READY;
        if let Some(first) = first.take_if(|_| takes_long) {
            // Fails only if the server has given up its start.
            let _ = first.send(Ok(()));
        }
        match timeout(if takes_long { LATER_LOOK } else { LOOK }, kept.turn(shared)).await {
            Ok(Turn::Ended(why)) => {
                kept.take_rest(shared);
                let line =
                    kept.tail.last_line().map_or_else(String::new, |line| format!(": {line}"));
                return Err(format!("it {} before it was asked anything{line}", why.for_client()));
            }
            Ok(_) => break,
            Err(_) => {}
        }
    }
    Ok((kept, worker))
}

impl Kept {
    /// Waits until something has to be done with the process. Meanwhile all that it complains of is
    /// told.
    async fn turn(&mut self, shared: &Shared) -> Turn {
        let mut closing = shared.pool.closing.subscribe();
        let mut piece = Vec::with_capacity(COMPLAINT);
        let (mut complains, mut rests) = (true, false);
        loop {
            tokio::select! {
                ended = self.process.wait() => {
                    let why = match ended {
                        Ok(status) => why(status, shared.oom_kills),
                        Err(error) => Why::Unknown(error.to_string()),
                    };
                    self.life.ended.send_replace(Some(why.clone()));
                    return Turn::Ended(why);
                }
                order = self.life.ordered() => return Turn::Ordered(order),
                _ = closing.wait_for(|closing| *closing) => return Turn::Closing,
                () = sleep(BREATH), if rests => rests = false,
                read = self.stderr.read_buf(&mut piece), if complains && !rests => {
                    complains = read.is_ok_and(|read| read > 0);
                    self.complain(shared, &piece);
                    rests = piece.len() >= MUCH;
                    piece.clear();
                }
            }
        }
    }

    fn complain(&mut self, shared: &Shared, bytes: &[u8]) {
        let (worker, pid) = (self.number, self.process.pid());
        self.tail.push(bytes);
        self.lines
            .push(bytes, |line| shared.terms.notices.tell(Notice::Printed { worker, pid, line }));
    }

    /// What lies in the pipe now. A child that has it open is not waited for.
    fn take_rest(&mut self, shared: &Shared) {
        let mut rest = [0; 4096];
        for _ in 0..16 {
            match rustix::io::read(&self.stderr, &mut rest) {
                Ok(read) if read > 0 => self.complain(shared, &rest[..read]),
                _ => return,
            }
        }
    }

    fn tell_end(&mut self, shared: &Shared, why: Why) {
        self.take_rest(shared);
        let stderr = match why {
            Why::Stopping | Why::MaxRequests | Why::Memory(_) => None,
            _ => self.tail.last_line(),
        };
        let (worker, pid) = (Some(self.number), self.process.pid());
        shared.terms.notices.tell(Notice::Ended { worker, pid, why, stderr, cut_after: None });
    }
}

/// Ends a worker that is late, or has failed otherwise.
async fn end(shared: Arc<Shared>, mut kept: Kept, why: Why, _task: mpsc::Sender<()>) {
    let with = kept.process.end().await;
    let why = match why {
        Why::Deadline { after, .. } => Why::Deadline { after, with },
        why => why,
    };
    kept.life.ended.send_replace(Some(why.clone()));
    kept.tell_end(&shared, why);
}

/// Lets a worker end that gets no more requests. It may still be at one: its input ends afterwards.
async fn leave(shared: Arc<Shared>, mut kept: Kept, why: Why, _task: mpsc::Sender<()>) {
    let patience = match why {
        Why::Stopping => LEAVE,
        _ => shared.terms.deadline + LEAVE,
    };
    let until = Instant::now() + patience;
    let mut piece = Vec::with_capacity(4096);
    loop {
        tokio::select! {
            _ = kept.process.wait() => break,
            read = kept.stderr.read_buf(&mut piece) => match read {
                Ok(read) if read > 0 => {
                    kept.complain(&shared, &piece);
                    piece.clear();
                }
                _ => {
                    let _ = tokio::time::timeout_at(until, kept.process.wait()).await;
                    break;
                }
            },
            () = tokio::time::sleep_until(until) => break,
            order = kept.life.ordered() => if let Order::End(_) = order { break },
        }
    }
    // Nothing is left to do if it has ended.
    kept.process.end().await;
    kept.life.ended.send_replace(Some(why.clone()));
    kept.tell_end(&shared, why);
}
