//! One request and its reply on a connected socket.

mod end;

use std::io;
use std::task::{Context, Poll};

use tokio::time::{Instant, timeout_at};

use super::Client;
use super::frame::FrameReader;
use super::reply_ends::{Found, ReplyEnds, Scanner};
use super::socket::{Read, Socket};
use super::wire::ClientWire;
use end::End;
pub(super) use end::Ended;

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

enum Sending {
    Underway,
    Done,
    /// The server takes no more. Its answer is read all the same: it may say why.
    Failed(io::Error),
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
}
