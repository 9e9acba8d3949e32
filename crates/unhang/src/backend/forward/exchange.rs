//! One request passed to the server behind, and its reply passed back.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::time::{Instant, sleep_until};

use super::ends::{Found, ReplyEnds, Scan};
use super::link::Link;
use super::watch::{Seen, Times};
use super::writer::Close;
use super::{HalfClose, Shared, prompt};
use crate::backend::notice::{EndedBy, Notice, Why, refused};
use crate::handler::{Pipe, Piped, WaitsFor};
use crate::{Fault, Gone, Reply, ReplySender, Request};

/// How much of a reply is held back, and for how long after its first byte: nearly every reply is whole by
/// then, so that a failure can still be told, and a person does not notice the wait.
const HELD_BACK: usize = 64 * 1024;
const HOLD: Duration = Duration::from_millis(20);

/// Pieces that may wait to be written, beside the one that is: enough to keep the server and the client busy
/// at once.
const AHEAD: usize = 1;

/// The most that is moved at once: more than a Unix socket holds.
const MOVED: usize = 1 << 20;

/// When we look for the first time, after the last byte, what the server does. One that closes does so
/// within that time, and costs no look.
const FIRST_LOOK: Duration = Duration::from_millis(5);
/// How often at least we look at a server that is at work.
const LOOK: Duration = Duration::from_millis(50);

/// A reply up to this length, that was held back for too long, is kept to advise by.
const KEPT: usize = 4 * 1024;

/// How long we listen behind a cut by silence, for bytes that prove it wrong.
const LISTEN: Duration = Duration::from_secs(2);

pub(super) struct Exchange {
    shared: Arc<Shared>,
    link: Link,
    request: Request,
    sent: usize,
    has_half_closed: bool,
    scan: Scan,
    /// What has come and was not passed on.
    piece: Vec<u8>,
    /// For the rest of a long reply: while one is being written to the client, the other is filled.
    pipes: Option<[Arc<Pipe>; 2]>,
    /// What has come in the first of them and was not passed on.
    piped: usize,
    /// Bytes of the reply so far.
    came: u64,
    /// The process that wrote the first of them, if that is known.
    writer: Option<u32>,
    /// Before it was connected.
    begun: Instant,
    /// When the last byte came, or the request began to be sent.
    last: Instant,
    /// Until the next look at the server.
    patience: Duration,
    look_at: Instant,
}

/// What comes next.
enum Next {
    Piece,
    /// The reply is whole.
    End(EndedBy),
    Failed(Broken),
    /// Nothing came, and the caller's time is up.
    Paused,
}

impl Next {
    fn is_last(&self) -> bool {
        matches!(self, Self::End(_) | Self::Failed(_))
    }
}

/// Why there is no whole reply.
enum Broken {
    Nothing,
    Half,
    /// Its process died in the middle.
    Died(Why),
    Late,
    /// The runtime cannot wait for the server: there is no descriptor or memory left for that.
    Unheard(io::Error),
    /// The reply is not what its rule promised.
    Other(&'static str),
}

impl Exchange {
    pub(super) fn new(shared: &Arc<Shared>, link: Link, request: Request, begun: Instant) -> Self {
        let now = Instant::now();
        if let Ok(fd) = u32::try_from(link.as_fd().as_raw_fd()) {
            request.telling().waits_for(WaitsFor::Descriptor(fd));
        }
        Self {
            shared: Arc::clone(shared),
            link,
            sent: 0,
            has_half_closed: false,
            scan: Scan::new(shared.ends, request.bytes()),
            request,
            piece: Vec::with_capacity(8 * 1024),
            pipes: None,
            piped: 0,
            came: 0,
            writer: None,
            begun,
            last: now,
            patience: FIRST_LOOK,
            look_at: now + FIRST_LOOK,
        }
    }

    /// Gives the reply as soon as it is whole; a long or slow one is passed on as it comes.
    pub(super) async fn run(mut self) -> Result<Reply, Fault> {
        self.send();
        if self.is_sent() && prompt::may_block() {
            self.shared.prompt.attempt(|within| self.link.await_close(within));
        }
        let mut next = self.at_once().unwrap_or(Next::Paused);
        if !next.is_last() {
            self.link = match self.link.watched() {
                Ok(link) => link,
                Err(error) => return Err(unheard(&error)),
            };
        }
        let mut hold = None;
        loop {
            match next {
                Next::Piece if self.piece.len() < HELD_BACK => {
                    hold = hold.or(Some(Instant::now() + HOLD));
                }
                Next::Paused if hold.is_none() => {}
                Next::End(by) => {
                    let reply = std::mem::take(&mut self.piece);
                    self.ended(by, &reply);
                    return Ok(reply.into());
                }
                Next::Failed(broken) => return Err(self.fault(&broken)),
                Next::Piece | Next::Paused => {
                    let (sender, reply) = Reply::stream(AHEAD);
                    tokio::spawn(self.pass_on(sender));
                    return Ok(reply);
                }
            }
            next = self.next(hold).await;
        }
    }

    /// All that is there without a wait; nothing, if that is nothing.
    fn at_once(&mut self) -> Option<Next> {
        let mut came = None;
        loop {
            match self.read() {
                Some(Next::Piece) if self.piece.len() < HELD_BACK => came = Some(Next::Piece),
                Some(next) => return Some(next),
                None => return came,
            }
        }
    }

    async fn pass_on(mut self, mut sender: ReplySender) {
        let first = if self.piece.len() <= KEPT { self.piece.clone() } else { Vec::new() };
        loop {
            // A client that has left takes its connection to the server with it.
            if self.send_on(&mut sender).await.is_err() {
                return;
            }
            self.take_pipes();
            match self.next(None).await {
                Next::Piece | Next::Paused => {}
                Next::End(by) => {
                    let sent = self.send_on(&mut sender).await;
                    let is_whole = self.came == first.len() as u64;
                    self.ended(by, if is_whole { &first } else { b"" });
                    if sent.is_ok() {
                        sender.finish().await;
                    }
                    return;
                }
                Next::Failed(broken) => {
                    let fault = self.fault(&broken);
                    return sender.fail(fault).await;
                }
            }
        }
    }

    /// What has come goes to the client.
    async fn send_on(&mut self, sender: &mut ReplySender) -> Result<(), Gone> {
        if let (Some(pipes), 1..) = (&mut self.pipes, self.piped) {
            let piped = Piped::new(Arc::clone(&pipes[0]), std::mem::take(&mut self.piped));
            pipes.swap(0, 1);
            sender.send_piped(piped).await?;
        } else {
            let room = if self.pipes.is_some() { 0 } else { HELD_BACK };
            sender.send(std::mem::replace(&mut self.piece, Vec::with_capacity(room))).await?;
        }
        // Then the piece before this one is written, and its pipe empty.
        sender.has_room().await
    }

    /// From now on no byte is copied, if none has to be looked at.
    fn take_pipes(&mut self) {
        let may = matches!(self.scan, Scan::Nothing) && self.came >= HELD_BACK as u64;
        if may && self.pipes.is_none() {
            let both = [Pipe::new(), Pipe::new()];
            if let [Ok(one), Ok(other)] = both {
                self.pipes = Some([one.into(), other.into()]);
            }
        }
    }

    /// Sends and reads until something has come, or it is over, or until the time that is given.
    async fn next(&mut self, until: Option<Instant>) -> Next {
        loop {
            self.send();
            if let Some(next) = self.read() {
                return next;
            }
            let deadline = self.last + self.shared.terms.deadline;
            let mut wake = until.map_or(deadline, |until| until.min(deadline));
            if let Some(at) = self.quiet_at() {
                wake = wake.min(at);
            }
            if self.looks() {
                wake = wake.min(self.look_at);
            }
            let interest = match self.is_sent() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            tokio::select! {
                biased;
                heard = self.link.ready(interest) => match heard {
                    Ok(()) => continue,
                    Err(error) => return Next::Failed(Broken::Unheard(error)),
                },
                () = sleep_until(wake) => {}
            }
            let now = Instant::now();
            if now >= deadline {
                return self.late();
            }
            if self.quiet_at().is_some_and(|at| now >= at) {
                return Next::End(EndedBy::Quiet);
            }
            if self.looks() && now >= self.look_at {
                if let Some(next) = self.look(now) {
                    return next;
                }
            }
            if until.is_some_and(|until| now >= until) {
                return Next::Paused;
            }
        }
    }

    fn send(&mut self) {
        let length = self.request.bytes().len();
        while self.sent < length {
            match self.link.write(&self.request.bytes()[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It reads no more of it: it may have answered all the same.
                Err(_) => self.sent = length,
            }
            if self.sent == length && self.shared.half_close == HalfClose::Always {
                self.half_close();
            }
        }
        if length == 0 && !self.has_half_closed && self.shared.half_close != HalfClose::Never {
            // An empty request is nothing but its end.
            self.half_close();
        }
    }

    fn is_sent(&self) -> bool {
        self.sent == self.request.bytes().len()
    }

    fn half_close(&mut self) {
        self.has_half_closed = true;
        // A server that has closed needs it no more.
        let _ = shutdown(&self.link, Shutdown::Write);
    }

    /// What can be read now.
    fn read(&mut self) -> Option<Next> {
        if let Some([pipe, _]) = &self.pipes {
            match self.link.move_to(pipe.input(), MOVED) {
                // It cannot be moved.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.pipes = None,
                moved => {
                    self.piped = *moved.as_ref().unwrap_or(&0);
                    return self.took(self.piece.len(), moved);
                }
            }
        }
        if self.piece.capacity() - self.piece.len() < 4096 {
            self.piece.reserve(HELD_BACK);
        }
        let before = self.piece.len();
        let read = match self.came {
            0 => self.link.read_first(&mut self.piece).map(|(read, writer)| {
                self.writer = writer;
                read
            }),
            _ => self.link.read(&mut self.piece),
        };
        self.took(before, read)
    }

    fn took(&mut self, before: usize, read: io::Result<usize>) -> Option<Next> {
        match read {
            Ok(0) => Some(self.closed()),
            Ok(read) => {
                self.came += read as u64;
                self.last = Instant::now();
                self.patience = FIRST_LOOK;
                self.look_at = self.last + FIRST_LOOK;
                Some(match self.scan.take(&self.piece[before..]) {
                    Found::More => Next::Piece,
                    Found::End(at) => {
                        self.piece.truncate(before + at);
                        Next::End(EndedBy::Rule)
                    }
                    Found::Broken(_) if self.shared.ends == ReplyEnds::Auto => {
                        self.scan = Scan::Nothing;
                        Next::Piece
                    }
                    Found::Broken(why) => Next::Failed(Broken::Other(why)),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) if self.came == 0 => Some(Next::Failed(Broken::Nothing)),
            Err(_) => Some(Next::Failed(Broken::Half)),
        }
    }

    fn closed(&self) -> Next {
        if self.came == 0 {
            return Next::Failed(Broken::Nothing);
        }
        if !self.scan.may_close() {
            return Next::Failed(Broken::Half);
        }
        match self.writer.map(|writer| self.shared.writers.close(writer, &self.link)) {
            Some(Close::Died(why)) => Next::Failed(Broken::Died(why)),
            Some(Close::Unseen) => {
                self.shared.tell_of_unseen_ends();
                Next::End(EndedBy::Close)
            }
            Some(Close::Meant) | None => Next::End(EndedBy::Close),
        }
    }

    fn late(&self) -> Next {
        if self.came == 0 && !self.has_half_closed && self.shared.half_close == HalfClose::Auto {
            self.shared.tell_of_unseen_needs();
        }
        match self.shared.ends {
            ReplyEnds::Auto | ReplyEnds::Close if self.came > 0 => Next::End(EndedBy::Deadline),
            _ => Next::Failed(Broken::Late),
        }
    }

    fn quiet_at(&self) -> Option<Instant> {
        match self.shared.ends {
            ReplyEnds::Quiet(quiet) if self.came > 0 => Some(self.last + quiet),
            _ => None,
        }
    }

    /// Whether there is something to be seen that would change anything.
    fn looks(&self) -> bool {
        let may_half_close = self.shared.half_close == HalfClose::Auto && !self.has_half_closed;
        let ends = self.shared.ends == ReplyEnds::Auto && self.came > 0;
        self.shared.watch.is_some()
            && self.is_sent()
            && (ends || (self.came == 0 && may_half_close))
    }

    fn look(&mut self, now: Instant) -> Option<Next> {
        let watch = self.shared.watch.as_ref()?;
        let left = (self.last + self.shared.terms.deadline).saturating_duration_since(now);
        let times = Times { since: now.duration_since(self.begun), left };
        let seen = watch.look(self.link.as_fd(), times);
        self.patience = match seen {
            Seen::Unknown => Duration::from_secs(1),
            _ => (2 * self.patience).min(LOOK),
        };
        self.look_at = now + self.patience;
        match seen {
            Seen::Works | Seen::Unknown => None,
            // Another part of it may be at work on the reply, and would take the end for our leaving.
            Seen::Waits if self.came == 0 => None,
            // It has all of the request and says nothing: it can only wait for the end of it.
            Seen::Rests if self.came == 0 => {
                self.half_close();
                None
            }
            // Once more: what it wrote before it was seen to wait is here now.
            Seen::Waits | Seen::Rests => self.read().or(Some(Next::End(EndedBy::Certain))),
        }
    }

    fn ended(self, by: EndedBy, reply: &[u8]) {
        let Self { shared, link, request, .. } = self;
        shared.terms.notices.tell(Notice::ReplyEnded { by });
        match by {
            EndedBy::Certain | EndedBy::Deadline => shared.advise(reply, request.bytes(), by),
            EndedBy::Quiet => {
                tokio::spawn(listen(shared, link));
            }
            EndedBy::Close | EndedBy::Rule => {}
        }
    }

    fn fault(&self, broken: &Broken) -> Fault {
        let deadline = self.shared.terms.deadline;
        let may = "the request may have run";
        let told = match broken {
            Broken::Nothing if self.has_half_closed => format!(
                "the server behind closed without a reply, when it saw the end of the request; {may}"
            ),
            Broken::Nothing => format!("the server behind closed without a reply; {may}"),
            Broken::Half => format!("the server behind ended in the middle of its reply; {may}"),
            Broken::Died(why) => {
                format!("the server behind {why} in the middle of its reply; {may}")
            }
            Broken::Late if self.came == 0 => {
                format!("the server behind took longer than {deadline:?}; {may}")
            }
            Broken::Late => {
                format!("the reply of the server behind had no end within {deadline:?}")
            }
            Broken::Unheard(error) => return unheard(error),
            Broken::Other(why) => {
                format!("the reply of the server behind is not what --reply-ends says: {why}")
            }
        };
        let code = match broken {
            Broken::Late => refused::LATE,
            Broken::Died(why) => why.refused_as(),
            Broken::Nothing | Broken::Half | Broken::Unheard(_) | Broken::Other(_) => {
                refused::ENDED
            }
        };
        refused::fault(told, code)
    }
}

fn unheard(error: &io::Error) -> Fault {
    let told = format!("cannot wait for the server behind: {error}; the request may have run");
    refused::fault(told, refused::ENDED)
}

/// Hears whether a reply that silence has ended goes on.
async fn listen(shared: Arc<Shared>, link: Link) {
    let cut = Instant::now();
    let mut more = Vec::with_capacity(1024);
    let hear = async {
        loop {
            match link.read(&mut more) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(read) if read > 0 => return true,
                _ => return false,
            }
            if link.ready(Interest::READABLE).await.is_err() {
                return false;
            }
        }
    };
    if tokio::time::timeout(LISTEN, hear).await == Ok(true) {
        shared.terms.notices.tell(Notice::CutEarly { after: cut.elapsed() });
    }
}
