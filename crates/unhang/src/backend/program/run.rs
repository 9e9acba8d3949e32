//! One run of a program, from its start until it is reaped.

use std::future::pending;
use std::io;
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::fstat;
use rustix::pipe::{PIPE_BUF, PipeFlags, pipe_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until};

use super::Shared;
use super::output::{Answer, Ending, Output};
use crate::backend::group::{self, look};
use crate::backend::lines::{BREATH, COMPLAINT, MUCH, Tail};
use crate::backend::notice::{Notice, Why, refused};
use crate::backend::process::{Pipes, Process, why};
use crate::{Fault, Request};

/// How long after the program's end its output may stay open. A reply that waits for the end of the
/// output alone hangs as long as any child that has inherited it (`sleep 60 &`); one that waits for
/// the program's end alone loses what a child still writes (`exec > >(sort)`).
const HELD: Duration = Duration::from_secs(1);

pub(super) struct Run {
    shared: Arc<Shared>,
    process: Process,
    place: Option<OwnedSemaphorePermit>,
}

/// How a program's part of a run was over.
enum Over {
    Ended(io::Result<ExitStatus>, Ending),
    Late,
    Stopped,
}

impl Run {
    pub(super) fn new(shared: Arc<Shared>, process: Process, place: OwnedSemaphorePermit) -> Self {
        Self { shared, process, place: Some(place) }
    }

    pub(super) async fn finish(mut self, pipes: Pipes, request: Request, answer: Answer) {
        let (mut output, mut tail) = (Output::new(answer), Tail::default());
        let Pipes { stdin, mut stdout, mut stderr } = pipes;
        let over = {
            let cut_loose = Notify::new();
            let pump = pin!(output.pump(&mut stdout, &cut_loose));
            let feed = pin!(feed(stdin, request));
            let drain = pin!(drain(&mut stderr, &mut tail));
            self.watch(pump, &cut_loose, feed, drain).await
        };
        take_rest(&stderr, &mut tail);
        let (why, cut_after) = self.settle(over, output, &stdout).await;
        let stderr = match why {
            Why::Done | Why::Stopping => None,
            _ => tail.last_line(),
        };
        let pid = self.process.pid();
        self.shared.terms.notices.tell(Notice::Ended { worker: None, pid, why, stderr, cut_after });
    }

    /// Until the program and its output have ended, or it has to be ended.
    async fn watch(
        &mut self,
        mut pump: Pin<&mut impl Future<Output = Ending>>,
        cut_loose: &Notify,
        mut feed: Pin<&mut impl Future<Output = ()>>,
        mut drain: Pin<&mut impl Future<Output = ()>>,
    ) -> Over {
        let deadline = Instant::now() + self.shared.terms.deadline;
        let mut stop = self.shared.stop.subscribe();
        let (mut status, mut ending, mut patience) = (None, None, None);
        let (mut fed, mut drained) = (false, false);
        loop {
            tokio::select! {
                end = &mut pump, if ending.is_none() => ending = Some(end),
                end = self.process.wait(), if status.is_none() => {
                    status = Some(end);
                    self.place = None;
                    patience = Some(Instant::now() + HELD);
                }
                () = &mut feed, if !fed => fed = true,
                () = &mut drain, if !drained => drained = true,
                () = at(patience) => {
                    cut_loose.notify_one();
                    patience = None;
                }
                () = sleep_until(deadline) => return Over::Late,
                _ = stop.wait_for(|stops| *stops) => return Over::Stopped,
            }
            match (status, ending) {
                (Some(status), Some(ending)) => return Over::Ended(status, ending),
                (as_before, _) => status = as_before,
            }
        }
    }

    /// Answers the client, then ends what has to be ended.
    async fn settle(
        &mut self,
        over: Over,
        output: Output,
        stdout: &ChildStdout,
    ) -> (Why, Option<u64>) {
        match over {
            Over::Ended(Ok(status), ending) if status.success() => {
                output.finish().await;
                if ending == Ending::Held {
                    self.name_holders(stdout).await;
                }
                (Why::Done, None)
            }
            Over::Ended(Ok(status), _) => {
                let why = why(status, self.shared.oom_kills);
                let cut =
                    output.fail(fault(format!("the program {}", why.for_client()), &why)).await;
                (why, cut)
            }
            Over::Ended(Err(error), _) => {
                let why = Why::Unknown(error.to_string());
                (why.clone(), output.fail(fault("the program's end cannot be seen", &why)).await)
            }
            Over::Late => {
                let after = self.shared.terms.deadline;
                let told = format!("the program took longer than {after:?}");
                let told = refused::fault(told, refused::LATE);
                // At the deadline, and not when the process is gone; nor does that wait for a client
                // that does not read.
                let (cut, with) = tokio::join!(output.fail(told), self.process.end());
                (Why::Deadline { after, with }, cut)
            }
            Over::Stopped => {
                let told = fault("the server stops", &Why::Stopping);
                let (cut, _) = tokio::join!(output.fail(told), self.process.end());
                (Why::Stopping, cut)
            }
        }
    }

    /// Says which process has the output open. We look while it is open here, too: as soon as we close it, a
    /// process that writes to it gets SIGPIPE.
    async fn name_holders(&self, stdout: &ChildStdout) {
        let Ok(pipe) = fstat(stdout) else { return };
        let holders = look(move || group::writers(pipe.st_ino)).await.unwrap_or_default();
        self.shared.terms.notices.tell(Notice::Held { pid: self.process.pid(), holders });
    }
}

fn fault(told: impl Into<String>, why: &Why) -> Fault {
    refused::fault(told, why.refused_as())
}

/// Writes the request and closes. A program need not read all of it (`head -c1`): then this fails
/// with EPIPE, and the exit code says whether all is well.
async fn feed(stdin: Option<ChildStdin>, request: Request) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(request.bytes()).await;
    }
}

/// Has the program find a short request in its pipe, and the end behind it: one that is written later costs a
/// registration, and a wake-up as soon as there is room.
pub(super) fn hand_in(command: &mut Command, request: &[u8]) -> io::Result<()> {
    // So much fits into any pipe (pipe(7)).
    if request.len() <= PIPE_BUF {
        let (output, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let written = rustix::io::write(&input, request)?;
        debug_assert_eq!(written, request.len());
        command.stdin(output);
    }
    Ok(())
}

/// Reads all that the program complains of: a program whose complaints nobody reads would wait for
/// ever once the pipe is full.
async fn drain(stderr: &mut ChildStderr, tail: &mut Tail) {
    let mut piece = Vec::with_capacity(COMPLAINT);
    while stderr.read_buf(&mut piece).await.is_ok_and(|read| read > 0) {
        tail.push(&piece);
        if piece.len() >= MUCH {
            sleep(BREATH).await;
        }
        piece.clear();
    }
}

/// What lies in the pipe now. A child that has it open is not waited for.
fn take_rest(stderr: &ChildStderr, tail: &mut Tail) {
    let mut rest = [0; 4096];
    // At most what a pipe holds: a child may write all the time.
    for _ in 0..16 {
        match rustix::io::read(stderr, &mut rest) {
            Ok(read) if read > 0 => tail.push(&rest[..read]),
            _ => return,
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
