//! What the end of an exchange means: a reply, or what there is instead.

use std::io;
use std::sync::Arc;

use super::{Exchange, Framing, Sending};
use crate::client::reply_ends::ReplyEnds;
use crate::client::socket::Unregistered;
use crate::client::wire::ClientWire;
use crate::error::{ErrorKind, Phase};
use crate::wire::oneshot::error_reason;

/// How it ended.
pub(in crate::client) enum Ended {
    /// The reply, and the connection if it can be used again.
    Whole(Vec<u8>, Option<Unregistered>),
    Failed(ErrorKind),
    /// The server had ended the kept connection before a byte of the request came to it.
    Stale,
}

/// How the receiving ended.
pub(super) enum End {
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

impl Exchange<'_> {
    pub(super) fn ended(mut self, end: End) -> Ended {
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
