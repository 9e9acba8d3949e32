//! One request and its reply on a connected socket.

use std::io;
use std::task::{Context, Poll};

use tokio::time::{Instant, timeout_at};

use super::Client;
use super::reply_ends::{Found, ReplyEnds, Scanner};
use super::socket::{Read, Socket};
use crate::error::{ErrorKind, Phase};
use crate::wire::oneshot::error_reason;

/// An exchange under way.
pub(super) struct Exchange<'a> {
    client: &'a Client,
    socket: Socket,
    request: &'a [u8],
    sent: usize,
    sending: Sending,
    reply: Vec<u8>,
    scanner: Scanner,
    started: Instant,
    last_byte: Instant,
}

enum Sending {
    Underway,
    Done,
    /// The server takes no more. Its answer is read all the same: it may say why.
    Failed(io::Error),
}

/// How the receiving ended.
enum End {
    /// The server has closed or half-closed.
    Closed,
    /// The reply is whole: so many bytes.
    Whole(usize),
    /// Nothing more came for as long as the reply may pause.
    Quiet,
    /// The reply cannot become what was expected.
    Broken(&'static str),
    TooLarge,
    Descriptor,
    Failed(io::Error),
    /// The deadline passed.
    Late,
}

/// What one look at the socket gave.
enum Step {
    /// Bytes, and then nothing more for now.
    Bytes,
    End(End),
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        client: &'a Client,
        socket: Socket,
        request: &'a [u8],
        started: Instant,
    ) -> Self {
        let (scanner, reply) = (Scanner::new(), Vec::new());
        let sending = Sending::Underway;
        let last_byte = started;
        Self { client, socket, request, sent: 0, sending, reply, scanner, started, last_byte }
    }

    pub(super) async fn run(mut self, deadline: Instant) -> Result<Vec<u8>, ErrorKind> {
        let end = loop {
            let quiet = self.quiet_at();
            let until = quiet.map_or(deadline, |quiet| quiet.min(deadline));
            let step = std::future::poll_fn(|cx| self.poll(cx));
            match timeout_at(until, step).await {
                Ok(Step::Bytes) => {}
                Ok(Step::End(end)) => break end,
                Err(_) if until < deadline => break End::Quiet,
                Err(_) => break End::Late,
            }
        };
        self.reply_by(end)
    }

    /// When silence ends the reply.
    fn quiet_at(&self) -> Option<Instant> {
        match self.client.reply_ends {
            ReplyEnds::AfterQuiet(quiet) if !self.reply.is_empty() => {
                self.last_byte.checked_add(quiet)
            }
            _ => None,
        }
    }

    /// Sends and receives side by side: a server that answers while it still reads would otherwise wait
    /// for the client to read, as the client waits for it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.send(cx);
        let mut buffer = [0; 16 * 1024];
        let mut has_come = false;
        loop {
            match self.socket.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(Read::Bytes(0))) => return Poll::Ready(Step::End(End::Closed)),
                Poll::Ready(Ok(Read::Bytes(bytes))) => {
                    if let Some(end) = self.take(&buffer[..bytes]) {
                        return Poll::Ready(Step::End(end));
                    }
                    has_come = true;
                }
                Poll::Ready(Ok(Read::WithDescriptor(bytes))) => {
                    let end = self.take(&buffer[..bytes]).unwrap_or(End::Descriptor);
                    return Poll::Ready(Step::End(end));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Step::End(End::Failed(error))),
                Poll::Pending if has_come => return Poll::Ready(Step::Bytes),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        while matches!(self.sending, Sending::Underway) {
            if self.sent == self.request.len() {
                if self.client.half_close {
                    // Fails only if the server has closed, which the reading will show.
                    let _ = self.socket.half_close();
                }
                self.sending = Sending::Done;
                return;
            }
            match self.socket.poll_write(cx, &self.request[self.sent..]) {
                Poll::Ready(Ok(bytes)) => self.sent += bytes,
                Poll::Ready(Err(error)) => self.sending = Sending::Failed(error),
                Poll::Pending => return,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Option<End> {
        self.last_byte = Instant::now();
        self.reply.extend_from_slice(bytes);
        let found = self.scanner.look(&self.client.reply_ends, &self.reply);
        let length = match found {
            Found::Whole(length) | Found::More(Some(length)) => length,
            Found::More(None) | Found::Broken(_) => self.reply.len(),
        };
        match found {
            _ if length > self.client.max_reply => Some(End::TooLarge),
            Found::Whole(length) => Some(End::Whole(length)),
            Found::Broken(why) => Some(End::Broken(why)),
            Found::More(_) => None,
        }
    }

    fn reply_by(mut self, end: End) -> Result<Vec<u8>, ErrorKind> {
        match end {
            End::Whole(length) => self.reply.truncate(length),
            End::Quiet => {}
            End::Closed if self.is_whole_at_close() => {}
            End::Closed => return Err(self.lost(None)),
            End::Failed(error) => return Err(self.lost(Some(error))),
            End::TooLarge => {
                return Err(ErrorKind::ReplyTooLarge { limit: self.client.max_reply });
            }
            End::Broken(why) => {
                return Err(ErrorKind::BrokenReply { why, partial: self.reply });
            }
            End::Descriptor => return Err(ErrorKind::DescriptorPassed { partial: self.reply }),
            End::Late => return Err(self.late()),
        }
        if let Some(reason) = error_reason(&self.reply) {
            let reason = reason.to_owned();
            return Err(ErrorKind::Refused { reason, reply: self.reply });
        }
        match self.is_cut() {
            true => Err(self.cut()),
            false => Ok(self.reply),
        }
    }

    /// The error line is whole at the close, too, whatever else a reply ends with.
    fn is_whole_at_close(&self) -> bool {
        error_reason(&self.reply).is_some()
            || self.scanner.is_whole_at_close(&self.client.reply_ends, &self.reply)
    }

    /// Whether the server cannot have got the whole request. Its answer is one to a part of it then.
    fn is_cut(&self) -> bool {
        self.sent < self.request.len()
    }

    fn cut(self) -> ErrorKind {
        ErrorKind::RequestCut { sent: self.sent, of: self.request.len(), reply: self.reply }
    }

    fn lost(self, receiving: Option<io::Error>) -> ErrorKind {
        // A server that closes with the rest of the request unread resets the connection.
        if self.is_cut() && !self.reply.is_empty() {
            return self.cut();
        }
        let request_may_have_run = self.may_have_run();
        let (phase, sending) = match self.sending {
            Sending::Underway => (Phase::Send, None),
            Sending::Failed(error) => (Phase::Send, Some(error)),
            Sending::Done => (Phase::Receive, None),
        };
        let half_closed = self.client.half_close && phase == Phase::Receive;
        let (partial, source) = (self.reply, receiving.or(sending));
        ErrorKind::Lost { phase, request_may_have_run, half_closed, partial, source }
    }

    fn late(self) -> ErrorKind {
        let elapsed = self.started.elapsed();
        if self.reply.is_empty() {
            let phase = match self.sending {
                Sending::Underway => Phase::Send,
                Sending::Done | Sending::Failed(_) => Phase::Receive,
            };
            return ErrorKind::TimedOut { phase, elapsed };
        }
        match &self.client.reply_ends {
            ReplyEnds::AtClose if self.is_cut() => self.cut(),
            ReplyEnds::AtClose => {
                let silent = self.last_byte.elapsed();
                ErrorKind::NotClosed { reply: self.reply, silent, elapsed }
            }
            ends => {
                let awaited = ends.to_string();
                ErrorKind::Incomplete { awaited, partial: self.reply, elapsed }
            }
        }
    }

    /// An empty request is whole as soon as it is connected.
    fn may_have_run(&self) -> bool {
        self.sent > 0 || self.request.is_empty()
    }
}
