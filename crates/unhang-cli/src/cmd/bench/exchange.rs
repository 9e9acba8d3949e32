//! One exchange on a socket that does not block: connect, write, read to the end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::reply::{Expected, Reply};
use super::tally::Ended;
use super::target::{Connected, Target};

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
    socket: OwnedFd,
    /// What its latency is counted from.
    pub(super) since: Instant,
    pub(super) deadline: Instant,
    is_connected: bool,
    /// How many bytes of the request are sent; None when it is done with.
    sent: Option<usize>,
    /// A write was told so. The kernel says it once, and to reads then that this is the end.
    was_reset: bool,
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
        Ok(Self { socket, since, deadline, is_connected, sent, was_reset: false, reply })
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
                    self.was_reset = error == Errno::CONNRESET;
                }
            }
        }
    }

    fn read(&mut self, expected: &Expected, buffer: &mut [u8]) -> Step {
        for _ in 0..PIECES {
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) if self.was_reset => return Step::Done(Ended::Reset),
                Ok((0, _)) => return Step::Done(self.reply.at_end(expected)),
                Ok((count, _)) => self.reply.take(&buffer[..count], expected),
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
            Step::Waits => Step::Done(self.reply.at_deadline(expected)),
            step => step,
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
            socket: own,
            since: Instant::now(),
            deadline: Instant::now(),
            is_connected: false,
            sent: Some(0),
            was_reset: false,
            reply: Reply::default(),
        };
        let step = exchange.go_on(&script, &mut [0; 64]);
        assert!(matches!(step, Step::ConnectFailed(Errno::CONNREFUSED)), "{step:?}");
    }
}
