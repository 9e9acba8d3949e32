//! One exchange on a socket that does not block: connect, write, read to the end.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use unhang::frame::FrameReader;

use super::reply::{Expected, Reply};
use super::tally::Ended;
use super::target::{Connected, Target};
use super::wire::Wire;
use crate::connection::{Connection, Read};

/// What every exchange of a run sends, and what it must get.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) target: Target,
    /// All that is written at once: of a wire that keeps connections, so many requests.
    pub(super) request: Vec<u8>,
    pub(super) wire: Wire,
    /// With goridge: what is called.
    pub(super) method: Arc<str>,
    pub(super) depth: usize,
    pub(super) half_close: bool,
    pub(super) expected: Expected,
}

#[derive(Debug)]
pub(super) struct Exchange {
    socket: Connection,
    /// What its latency is counted from.
    pub(super) since: Instant,
    pub(super) deadline: Instant,
    is_connected: bool,
    /// How many bytes of the request are sent; None when it is done with.
    sent: Option<usize>,
    /// Why a write failed: the server took no more of the request. The kernel says a reset once, and to
    /// reads then that this is the end.
    stopped: Option<Errno>,
    reply: Reply,
    /// Finds the end of a reply, if that is not the close.
    reader: Option<FrameReader>,
    /// How many of the replies were whole and as expected.
    answered: usize,
    /// Whether other exchanges went before on the connection.
    is_reused: bool,
    /// Whether others may follow.
    may_follow: bool,
}

/// Pieces of a reply that are read at once: one that never ends must not hold up the deadlines.
const PIECES: usize = 16;

/// How far it got.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Nothing more can be done now.
    Waits,
    Done(Ended),
    ConnectFailed(Errno),
}

impl Exchange {
    /// `Errno::AGAIN`: the accept queue is full.
    pub(super) fn connect(
        script: &Script,
        since: Instant,
        deadline: Instant,
    ) -> Result<Self, Errno> {
        let (socket, is_connected) = match script.target.connect()? {
            Connected::Yes(socket) => (socket, true),
            Connected::Soon(socket) => (socket, false),
        };
        Ok(Self::on(socket, is_connected, script, since, deadline))
    }

    /// On a connection that was kept.
    pub(super) fn again(
        socket: Connection,
        script: &Script,
        since: Instant,
        deadline: Instant,
    ) -> Self {
        Self { is_reused: true, ..Self::on(socket, true, script, since, deadline) }
    }

    fn on(
        socket: Connection,
        is_connected: bool,
        script: &Script,
        since: Instant,
        deadline: Instant,
    ) -> Self {
        Self {
            socket,
            since,
            deadline,
            is_connected,
            sent: Some(0),
            stopped: None,
            reply: Reply::default(),
            reader: script.wire.reader(&script.method),
            answered: 0,
            is_reused: false,
            may_follow: false,
        }
    }

    /// Writes as much as can be written now, and reads nothing: after a connect there is nothing.
    pub(super) fn begin(&mut self, script: &Script) -> Step {
        if self.is_connected {
            self.write(script);
        }
        Step::Waits
    }

    /// Does all that can be done now.
    pub(super) fn go_on(&mut self, script: &Script, buffer: &mut [u8]) -> Step {
        if !self.is_connected {
            match socket_error(&self.socket) {
                Ok(Ok(())) if script.target.is_itself(&self.socket) => {
                    return Step::ConnectFailed(Errno::CONNREFUSED);
                }
                Ok(Ok(())) => self.is_connected = true,
                Ok(Err(error)) | Err(error) => return Step::ConnectFailed(error),
            }
        }
        self.write(script);
        self.read(script, buffer)
    }

    fn write(&mut self, script: &Script) {
        while let Some(sent) = self.sent {
            let rest = &script.request[sent..];
            if rest.is_empty() {
                if script.half_close {
                    // Fails only if the server is gone, and the read says that better.
                    let _ = shutdown(&self.socket, Shutdown::Write);
                }
                self.sent = None;
                return;
            }
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(count) => self.sent = Some(sent + count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The server takes no more. What it had to say first can be read all the same.
                Err(error) => {
                    self.sent = None;
                    self.stopped = Some(error);
                }
            }
        }
    }

    fn read(&mut self, script: &Script, buffer: &mut [u8]) -> Step {
        for _ in 0..PIECES {
            match self.socket.read(buffer) {
                Ok(Read::Bytes(0)) if self.stopped == Some(Errno::CONNRESET) => {
                    return Step::Done(Ended::Reset);
                }
                Ok(Read::Bytes(0)) => return Step::Done(self.at_end(&script.expected)),
                Ok(Read::Bytes(count)) => {
                    if let Some(ended) = self.take(&buffer[..count], script) {
                        return Step::Done(ended);
                    }
                }
                // To read it could hold up all clients of this thread.
                Ok(Read::Descriptor) => return Step::Done(Ended::Wrong),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Step::Waits,
                Err(_) => return Step::Done(Ended::Reset),
            }
        }
        Step::Waits
    }

    /// Whether all replies are there, or one that is not as expected.
    fn take(&mut self, mut bytes: &[u8], script: &Script) -> Option<Ended> {
        let Some(reader) = &mut self.reader else {
            self.reply.take(bytes, &script.expected);
            return None;
        };
        loop {
            let mut body = |part: &[u8]| self.reply.take(part, &script.expected);
            let Ok(taken) = reader.take(bytes, &mut body) else { return Some(Ended::Wrong) };
            bytes = &bytes[taken.used..];
            if !taken.is_whole {
                return None;
            }
            let ended = match std::mem::take(&mut self.reply).as_frame(&script.expected) {
                _ if reader.is_refusal() => Ended::Refused,
                ended => ended,
            };
            if ended != Ended::Answered {
                return Some(ended);
            }
            self.answered += 1;
            if self.answered == script.depth {
                self.may_follow = bytes.is_empty() && reader.stays_open() && self.sent.is_none();
                return Some(self.judged(Ended::Answered));
            }
        }
    }

    /// The server has ended the connection.
    fn at_end(&self, expected: &Expected) -> Ended {
        let ended = self.reply.at_end(expected);
        match &self.reader {
            Some(reader) if !reader.is_whole_at_close() && ended != Ended::Empty => Ended::Short,
            _ => self.judged(ended),
        }
    }

    /// What it waits for.
    pub(super) fn interest(&self) -> EventFlags {
        match self.sent {
            Some(_) => EventFlags::IN | EventFlags::OUT,
            None => EventFlags::IN,
        }
    }

    pub(super) fn has_sent(&self) -> bool {
        self.sent.is_none()
    }

    /// What it was, when time is up. What came while we were held up came in time.
    pub(super) fn at_deadline(&mut self, script: &Script, buffer: &mut [u8]) -> Step {
        if !self.is_connected {
            return Step::ConnectFailed(Errno::TIMEDOUT);
        }
        match self.read(script, buffer) {
            Step::Waits if self.reader.is_some() => Step::Done(Ended::TimedOut),
            Step::Waits => Step::Done(self.judged(self.reply.at_deadline(&script.expected))),
            step => step,
        }
    }

    /// How many ended in which way, if it has ended so: what had not been answered by then ended with it.
    pub(super) fn counts(&self, ended: Ended, depth: usize) -> [(Ended, usize); 2] {
        let answered = if ended == Ended::Answered { depth } else { self.answered };
        [(Ended::Answered, answered), (ended, depth - answered)]
    }

    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Whether the server had ended the kept connection before a byte of this came there.
    pub(super) fn is_stale(&self) -> bool {
        self.is_reused && self.stopped == Some(Errno::PIPE)
    }

    /// The connection, if another exchange may follow on it.
    pub(super) fn kept(self) -> Option<Connection> {
        self.may_follow.then_some(self.socket)
    }

    /// An answer to a part of the request is none to the request.
    fn judged(&self, ended: Ended) -> Ended {
        let is_cut = self.stopped.is_some() || self.sent.is_some();
        match ended {
            Ended::Answered | Ended::NotClosed if is_cut => Ended::RequestCut,
            ended => ended,
        }
    }
}

impl AsFd for Exchange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, socket};

    use super::*;

    /// It happens within seconds if a server on a port above 32768 has died: 1,000 tries a second.
    #[test]
    fn a_client_that_has_met_itself_was_taken_for_a_server() {
        let own = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&own, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = std::net::SocketAddr::try_from(getsockname(&own).unwrap()).unwrap();
        connect(&own, &address).unwrap();
        let (target, request) = (Target::Tcp(address), b"ping\n".to_vec());
        let (wire, depth, expected) = (Wire::OneShot, 1, Expected::Any);
        let method = "".into();
        let script = Script { target, request, wire, method, depth, half_close: true, expected };
        let (own, now) = (Connection::over_tcp(own), Instant::now());
        let mut exchange = Exchange::on(own, false, &script, now, now);
        let step = exchange.go_on(&script, &mut [0; 64]);
        assert!(matches!(step, Step::ConnectFailed(Errno::CONNREFUSED)), "{step:?}");
    }
}
