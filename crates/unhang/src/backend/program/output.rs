//! The reply that a program writes: held back until it is long, then passed on as it comes.

use rustix::io::ioctl_fionread;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::sync::{Notify, oneshot};

use crate::{Fault, Reply, ReplySender};

pub(super) type Answer = oneshot::Sender<Result<Reply, Fault>>;

/// How much of a reply is held back: nearly every program that fails does so before, and can then
/// be told as an ERR.
const HELD_BACK: usize = 64 * 1024;

/// Pieces that may wait to be written: enough to keep the program and its client busy at once, and
/// with [`HELD_BACK`] each, all that a reply holds in memory.
const AHEAD: usize = 2;

/// Standard output, on its way to the client.
pub(super) struct Output {
    stage: Stage,
    passed: u64,
}

enum Stage {
    /// Nothing has been passed on yet.
    Held(Answer, Vec<u8>),
    Streams(ReplySender),
    /// Nobody takes it any more. The program goes on; what it writes is thrown away.
    Gone,
}

/// How a program's output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All processes that could write have closed it.
    Closed,
    /// Somebody still has it open, and was not waited for.
    Held,
}

impl Output {
    pub(super) fn new(answer: Answer) -> Self {
        Self { stage: Stage::Held(answer, Vec::new()), passed: 0 }
    }

    /// Passes on all that is written, until the last writer closes; or, once `cut_loose` was told,
    /// what the pipe holds then.
    pub(super) async fn pump(&mut self, stdout: &mut ChildStdout, cut_loose: &Notify) -> Ending {
        let mut piece = Vec::with_capacity(HELD_BACK);
        loop {
            tokio::select! {
                biased;
                () = cut_loose.notified() => break,
                // An error is none that a reader of a pipe could do anything about.
                read = stdout.read_buf(&mut piece) => if read.unwrap_or_default() == 0 {
                    return Ending::Closed;
                },
            }
            self.pass(&mut piece).await;
        }
        let mut rest = ioctl_fionread(&*stdout).unwrap_or_default();
        while rest > 0 {
            match stdout.take(rest).read_buf(&mut piece).await.unwrap_or_default() {
                0 => return Ending::Closed,
                read => rest -= read as u64,
            }
            self.pass(&mut piece).await;
        }
        Ending::Held
    }

    async fn pass(&mut self, piece: &mut Vec<u8>) {
        self.passed += piece.len() as u64;
        match &mut self.stage {
            Stage::Held(_, held) if held.len() + piece.len() <= HELD_BACK => held.append(piece),
            Stage::Held(..) => {
                let Stage::Held(answer, mut held) = std::mem::replace(&mut self.stage, Stage::Gone)
                else {
                    return;
                };
                held.append(piece);
                let (mut sender, reply) = Reply::stream(AHEAD);
                if answer.send(Ok(reply)).is_ok() && sender.send(held).await.is_ok() {
                    self.stage = Stage::Streams(sender);
                }
                piece.reserve(HELD_BACK);
            }
            Stage::Streams(sender) => {
                let next = Vec::with_capacity(HELD_BACK);
                if sender.send(std::mem::replace(piece, next)).await.is_err() {
                    self.stage = Stage::Gone;
                }
            }
            Stage::Gone => piece.clear(),
        }
    }

    /// The program has answered: the reply is whole.
    pub(super) async fn finish(self) {
        match self.stage {
            Stage::Held(answer, mut held) => {
                if held.is_empty() {
                    // An empty reply cannot be told from a server that died.
                    held.push(b'\n');
                }
                // A client that is gone has left nobody to tell.
                let _ = answer.send(Ok(held.into()));
            }
            Stage::Streams(sender) => sender.finish().await,
            Stage::Gone => {}
        }
    }

    /// The program has failed: its client is told so, or its reply is cut. Gives how many bytes had
    /// been passed on then.
    pub(super) async fn fail(self, fault: Fault) -> Option<u64> {
        match self.stage {
            Stage::Held(answer, _) => {
                let _ = answer.send(Err(fault));
                None
            }
            Stage::Streams(sender) => {
                sender.fail(fault).await;
                Some(self.passed)
            }
            Stage::Gone => None,
        }
    }
}
