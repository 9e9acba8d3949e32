//! One exchange on a socket that does not block: connect, write, read to the end.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::reply::{Expected, Reply};
use super::tally::Ended;
use super::target::{Connected, Target};
use crate::connection::{Connection, Read};

/// What every exchange of a run sends, and what it must get.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) target: Target,
    pub(super) request: Vec<u8>,
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
    /// A write was told so. The kernel says it once, and to reads then that this is the end.
    was_reset: bool,
    /// The server took no more of the request before its end.
    was_cut: bool,
    reply: Reply,
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
        let reply = Reply::default();
        let sent = Some(0);
        let (was_reset, was_cut) = (false, false);
        Ok(Self { socket, since, deadline, is_connected, sent, was_reset, was_cut, reply })
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
        self.read(&script.expected, buffer)
    }

    fn write(&mut self, script: &Script) {
        while let Some(sent) = self.sent {
            let rest = &script.request[sent..];
            if rest.is_empty() {
                if script.half_close {
                    // Fails only where the server is gone, and the read says that better.
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
                    self.was_cut = true;
                    self.was_reset = error == Errno::CONNRESET;
                }
            }
        }
    }

    fn read(&mut self, expected: &Expected, buffer: &mut [u8]) -> Step {
        for _ in 0..PIECES {
            match self.socket.read(buffer) {
                Ok(Read::Bytes(0)) if self.was_reset => return Step::Done(Ended::Reset),
                Ok(Read::Bytes(0)) => return Step::Done(self.judged(self.reply.at_end(expected))),
                Ok(Read::Bytes(count)) => self.reply.take(&buffer[..count], expected),
                // To read it could hold up all clients of this thread.
                Ok(Read::Descriptor) => return Step::Done(Ended::Wrong),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Step::Waits,
                Err(_) => return Step::Done(Ended::Reset),
            }
        }
        Step::Waits
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
    pub(super) fn at_deadline(&mut self, expected: &Expected, buffer: &mut [u8]) -> Step {
        if !self.is_connected {
            return Step::ConnectFailed(Errno::TIMEDOUT);
        }
        match self.read(expected, buffer) {
            Step::Waits => Step::Done(self.judged(self.reply.at_deadline(expected))),
            step => step,
        }
    }

    /// An answer to a part of the request is none to the request.
    fn judged(&self, ended: Ended) -> Ended {
        let is_cut = self.was_cut || self.sent.is_some();
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

    /// It happens within seconds where a server on a port above 32768 has died: 1,000 tries a second.
    #[test]
    fn a_client_that_has_met_itself_was_taken_for_a_server() {
        let own = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&own, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = std::net::SocketAddr::try_from(getsockname(&own).unwrap()).unwrap();
        connect(&own, &address).unwrap();
        let (target, request) = (Target::Tcp(address), b"ping\n".to_vec());
        let script = Script { target, request, half_close: true, expected: Expected::Any };
        let mut exchange = Exchange {
            socket: Connection::over_tcp(own),
            since: Instant::now(),
            deadline: Instant::now(),
            is_connected: false,
            sent: Some(0),
            was_reset: false,
            was_cut: false,
            reply: Reply::default(),
        };
        let step = exchange.go_on(&script, &mut [0; 64]);
        assert!(matches!(step, Step::ConnectFailed(Errno::CONNREFUSED)), "{step:?}");
    }
}
