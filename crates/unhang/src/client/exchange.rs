//! One request and its reply on a connected socket.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::{Instant, timeout_at};

use super::Client;
use super::frame::FrameReader;
use super::reply_ends::{Found, ReplyEnds, Scanner};
use super::socket::{Read, Socket, Unregistered};
use super::wire::ClientWire;
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
    framing: Framing,
    /// Whether another exchange went before this one on the connection.
    is_reused: bool,
    /// Whether a byte has come.
    has_heard: bool,
    started: Instant,
    last_byte: Instant,
}

/// What finds the end of the reply.
enum Framing {
    /// As the caller says.
    Ends(Scanner),
    /// As the wire has it.
    Frame(FrameReader),
}

/// How it ended.
pub(super) enum Ended {
    /// The reply, and the connection if it can be used again.
    Whole(Vec<u8>, Option<Unregistered>),
    Failed(ErrorKind),
    /// The server had ended the kept connection before a byte of the request came to it.
    Stale,
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
    /// The reply is whole: its first so many bytes. Nothing may follow on the connection if it is the last.
    Whole {
        length: usize,
        is_last: bool,
    },
    /// Nothing more came for as long as the reply may pause.
    Quiet,
    /// The reply cannot become what was expected.
    Broken(&'static str),
    TooLarge,
    Descriptor,
    Failed(io::Error),
    /// The deadline passed.
    Late,
    /// A kept connection takes nothing more.
    Stale,
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
        is_reused: bool,
        request: &'a [u8],
        started: Instant,
    ) -> Self {
        let framing = match client.wire.reader() {
            None => Framing::Ends(Scanner::new()),
            Some(reader) => Framing::Frame(reader),
        };
        let (sending, reply, last_byte) = (Sending::Underway, Vec::new(), started);
        let (sent, has_heard) = (0, false);
        Self {
            client,
            socket,
            request,
            sent,
            sending,
            reply,
            framing,
            is_reused,
            has_heard,
            started,
            last_byte,
        }
    }

    pub(super) async fn run(mut self, deadline: Instant) -> Ended {
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
        self.ended(end)
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
                Poll::Ready(Ok(Read::Bytes(0))) if self.is_stale() => {
                    return Poll::Ready(Step::End(End::Stale));
                }
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
                Poll::Pending if self.is_stale() => return Poll::Ready(Step::End(End::Stale)),
                Poll::Pending if has_come => return Poll::Ready(Step::Bytes),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        while matches!(self.sending, Sending::Underway) {
            if self.sent == self.request.len() {
                if self.half_closes() {
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
        self.has_heard = true;
        let limit = self.client.max_reply.saturating_add(self.client.reply_ends.prefix());
        match &mut self.framing {
            Framing::Ends(scanner) => {
                self.reply.extend_from_slice(bytes);
                let found = scanner.look(&self.client.reply_ends, &self.reply);
                let length = match found {
                    Found::Whole(length) | Found::More(Some(length)) => length,
                    Found::More(None) | Found::Broken(_) => self.reply.len(),
                };
                match found {
                    _ if length > limit => Some(End::TooLarge),
                    Found::Whole(length) => Some(End::Whole { length, is_last: true }),
                    Found::Broken(why) => Some(End::Broken(why)),
                    Found::More(_) => None,
                }
            }
            Framing::Frame(reader) => {
                let taken = reader.take(bytes, &mut |body| self.reply.extend_from_slice(body));
                let length = self.reply.len();
                // It need not come before it is refused.
                let announced = (length as u64).saturating_add(reader.left());
                match taken {
                    Err(why) => {
                        self.reply.extend_from_slice(reader.no_reply());
                        Some(End::Broken(why))
                    }
                    Ok(_) if announced > self.client.max_reply as u64 => Some(End::TooLarge),
                    // Unasked bytes would be taken for the answer to the next request.
                    Ok(taken) if taken.is_whole => {
                        let is_last = taken.used < bytes.len() || !reader.stays_open();
                        Some(End::Whole { length, is_last })
                    }
                    Ok(_) => None,
                }
            }
        }
    }

    fn ended(mut self, end: End) -> Ended {
        if matches!(end, End::Stale) {
            return Ended::Stale;
        }
        let keeps = matches!(end, End::Whole { is_last: false, .. }) && !self.is_cut();
        if let Err(kind) = self.judged(end) {
            return Ended::Failed(kind);
        }
        let refusal = self.framing.refusal(&self.reply);
        if refusal.is_none() {
            self.drop_length();
        }
        let socket = if keeps { self.socket.unregistered() } else { None };
        match refusal {
            // The connection is as good as after an answer.
            Some(reason) => {
                if let Some(socket) = socket {
                    self.client.pool.keep(socket);
                }
                Ended::Failed(ErrorKind::Refused { reason, reply: self.reply })
            }
            None => Ended::Whole(self.reply, socket),
        }
    }

    /// Whether there is a reply, or what there is instead.
    fn judged(&mut self, end: End) -> Result<(), ErrorKind> {
        match end {
            End::Whole { length, .. } => self.reply.truncate(length),
            End::Quiet => {}
            End::Closed if self.is_whole_at_close() => {}
            End::Closed | End::Stale => return Err(self.lost(None)),
            // A server that refuses a long request in the middle resets the connection behind its reason; and
            // one that speaks another wire has its reason as well.
            End::Failed(_) | End::Broken(_) if error_reason(&self.reply).is_some() => {}
            End::Failed(error) => return Err(self.lost(Some(error))),
            End::TooLarge => {
                return Err(ErrorKind::ReplyTooLarge { limit: self.client.max_reply });
            }
            End::Broken(why) => {
                return Err(ErrorKind::BrokenReply { why, partial: self.reply() });
            }
            End::Descriptor => return Err(ErrorKind::DescriptorPassed { partial: self.reply() }),
            End::Late => return Err(self.late()),
        }
        match self.is_cut() && self.framing.refusal(&self.reply).is_none() {
            true => Err(self.cut()),
            false => Ok(()),
        }
    }

    /// The length before a whole reply is not part of it.
    fn drop_length(&mut self) {
        if matches!(self.framing, Framing::Ends(_)) {
            self.reply.drain(..self.client.reply_ends.prefix().min(self.reply.len()));
        }
    }

    fn reply(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.reply)
    }

    /// Whether a kept connection was ended by the server before this request: its input is shut, so that
    /// the server has not got all of the request, and it has said nothing.
    fn is_stale(&self) -> bool {
        let is_shut = matches!(
            &self.sending,
            Sending::Failed(error) if error.kind() == io::ErrorKind::BrokenPipe
        );
        self.is_reused && is_shut && !self.has_heard
    }

    /// A connection that is kept is not half-closed.
    fn half_closes(&self) -> bool {
        self.client.half_close && self.client.wire == ClientWire::OneShot
    }

    /// The error line is whole at the close, too, whatever else a reply ends with.
    fn is_whole_at_close(&self) -> bool {
        error_reason(&self.reply).is_some()
            || match &self.framing {
                Framing::Ends(scanner) => {
                    scanner.is_whole_at_close(&self.client.reply_ends, &self.reply)
                }
                Framing::Frame(reader) => reader.is_whole_at_close(),
            }
    }

    /// Whether the server cannot have got the whole request. Its answer is one to a part of it then.
    fn is_cut(&self) -> bool {
        self.sent < self.request.len()
    }

    fn cut(&mut self) -> ErrorKind {
        ErrorKind::RequestCut { sent: self.sent, of: self.request.len(), reply: self.reply() }
    }

    fn lost(&mut self, receiving: Option<io::Error>) -> ErrorKind {
        // A server that closes with the rest of the request unread resets the connection.
        if self.is_cut() && !self.reply.is_empty() {
            return self.cut();
        }
        let request_may_have_run = self.may_have_run();
        let (phase, sending) = match std::mem::replace(&mut self.sending, Sending::Done) {
            Sending::Underway => (Phase::Send, None),
            Sending::Failed(error) => (Phase::Send, Some(error)),
            Sending::Done => (Phase::Receive, None),
        };
        let half_closed = self.half_closes() && phase == Phase::Receive;
        let (partial, source) = (self.reply(), receiving.or(sending));
        ErrorKind::Lost {
            phase,
            request_may_have_run,
            half_closed,
            partial,
            source: source.map(Arc::new),
        }
    }

    fn late(&mut self) -> ErrorKind {
        let elapsed = self.started.elapsed();
        if self.reply.is_empty() {
            let phase = match self.sending {
                Sending::Underway => Phase::Send,
                Sending::Done | Sending::Failed(_) => Phase::Receive,
            };
            return ErrorKind::TimedOut { phase, elapsed };
        }
        let awaited = match (&self.client.wire, &self.client.reply_ends) {
            (ClientWire::OneShot, ReplyEnds::AtClose) if self.is_cut() => return self.cut(),
            (ClientWire::OneShot, ReplyEnds::AtClose) => {
                let silent = self.last_byte.elapsed();
                return ErrorKind::NotClosed { reply: self.reply(), silent, elapsed };
            }
            (ClientWire::OneShot, ends) => ends.to_string(),
            (wire, _) => wire.end().to_owned(),
        };
        ErrorKind::Incomplete { awaited, partial: self.reply(), elapsed }
    }

    /// An empty request is whole as soon as it is connected.
    fn may_have_run(&self) -> bool {
        self.sent > 0 || self.request.is_empty()
    }
}

impl Framing {
    /// Why the server has not answered, if that is what the whole reply says.
    fn refusal(&self, reply: &[u8]) -> Option<String> {
        let status = match self {
            Self::Ends(_) => None,
            Self::Frame(reader) if reader.is_goridge() => {
                let reason = || String::from_utf8_lossy(reply).trim_end().to_owned();
                return reader.is_refusal().then(reason);
            }
            // 0 is that of no response.
            Self::Frame(reader) => reader.status().filter(|&status| status > 0),
        };
        match status {
            Some(status @ 400..) => {
                let text = String::from_utf8_lossy(reply);
                Some(format!("{status} {}", text.trim_end()).trim_end().to_owned())
            }
            Some(_) => None,
            // A line may end with a NUL byte instead.
            None => match reply.split_last() {
                Some((0, line)) => error_reason(&[line, b"\n"].concat()).map(str::to_owned),
                _ => error_reason(reply).map(str::to_owned),
            },
        }
    }
}
