//! One request passed to the server behind, and its reply passed back.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::broken::{Broken, Circumstances};
use super::ends::ReplyEnds;
use super::link::Link;
use super::looks::Looks;
use super::transfer::{HELD_BACK, Next, Transfer};
use super::watch::{Seen, Times};
use crate::backend::notice::{EndedBy, Notice};
use crate::backend::prompt;
use crate::{Fault, Gone, Reply, ReplySender, Request};

/// For how long a reply is held back after its first byte: a person does not notice the wait.
const HOLD: Duration = Duration::from_millis(20);

/// Pieces that may wait to be written, beside the one that is: enough to keep the server and the client busy
/// at once.
const AHEAD: usize = 1;

/// A reply up to this length, that was held back for too long, is kept to advise by.
const KEPT: usize = 4 * 1024;

/// How long we listen behind a cut by silence, for bytes that prove it wrong.
const LISTEN: Duration = Duration::from_secs(2);

pub(super) struct Exchange {
    shared: Arc<Shared>,
    transfer: Transfer,
    /// Before it was connected.
    begun: Instant,
    looks: Looks,
}

impl Exchange {
    pub(super) fn new(shared: &Arc<Shared>, link: Link, request: Request, begun: Instant) -> Self {
        let transfer = Transfer::new(Arc::clone(shared), link, request);
        let looks = Looks::since(transfer.last);
        Self { shared: Arc::clone(shared), transfer, begun, looks }
    }

    /// Gives the reply as soon as it is whole; a long or slow one is passed on as it comes.
    pub(super) async fn run(mut self) -> Result<Reply, Fault> {
        self.transfer.send();
        let mut next = self.promptly().unwrap_or(Next::Paused);
        if !next.is_last() {
            let at = self.circumstances();
            self.transfer =
                self.transfer.watched().map_err(|error| Broken::Unheard(error).fault(&at))?;
        }
        let mut hold = None;
        loop {
            match next {
                Next::Piece if self.transfer.piece.len() < HELD_BACK => {
                    hold = hold.or(Some(Instant::now() + HOLD));
                }
                Next::Paused if hold.is_none() => {}
                Next::End(by) => {
                    let reply = std::mem::take(&mut self.transfer.piece);
                    self.ended(by, &reply);
                    return Ok(reply.into());
                }
                Next::Failed(broken) => return Err(broken.fault(&self.circumstances())),
                Next::Piece | Next::Paused => {
                    let (sender, reply) = Reply::stream(AHEAD);
                    tokio::spawn(self.pass_on(sender));
                    return Ok(reply);
                }
            }
            next = self.next(hold).await;
        }
    }

    /// What comes at once, or within the time for which it pays to wait on this thread.
    fn promptly(&mut self) -> Option<Next> {
        let Self { shared, transfer, .. } = self;
        if !transfer.is_sent() || !prompt::may_block() {
            return transfer.at_once();
        }
        let mut came = None;
        shared.prompt.attempt(|within| {
            // A server on our own processor answers meanwhile: that saves the wait.
            std::thread::yield_now();
            came = transfer.at_once();
            if !came.as_ref().is_some_and(Next::is_last) && transfer.await_end(within) {
                came = transfer.at_once().or(came.take());
            }
            came.as_ref().is_some_and(Next::is_last)
        });
        came.or_else(|| transfer.at_once())
    }

    async fn pass_on(mut self, mut sender: ReplySender) {
        let held = &self.transfer.piece;
        let first = if held.len() <= KEPT { held.clone() } else { Vec::new() };
        loop {
            // A client that has left takes its connection to the server with it.
            if self.send_on(&mut sender).await.is_err() {
                return;
            }
            self.transfer.take_pipes();
            match self.next(None).await {
                Next::Piece | Next::Paused => {}
                Next::End(by) => {
                    let sent = self.send_on(&mut sender).await;
                    let is_whole = self.transfer.came == first.len() as u64;
                    self.ended(by, if is_whole { &first } else { b"" });
                    if sent.is_ok() {
                        sender.finish().await;
                    }
                    return;
                }
                Next::Failed(broken) => {
                    let fault = broken.fault(&self.circumstances());
                    return sender.fail(fault).await;
                }
            }
        }
    }

    /// What has come goes to the client.
    async fn send_on(&mut self, sender: &mut ReplySender) -> Result<(), Gone> {
        match self.transfer.piped() {
            Some(piped) => sender.send_piped(piped).await?,
            None => sender.send(self.transfer.take_piece()).await?,
        }
        // Then the piece before this one is written, and its pipe empty.
        sender.has_room().await
    }

    /// Sends and reads until something has come, or it is over, or until the time that is given.
    async fn next(&mut self, until: Option<Instant>) -> Next {
        loop {
            self.transfer.send();
            if let Some(next) = self.transfer.read() {
                return next;
            }
            let deadline = self.transfer.last + self.shared.terms.deadline;
            let mut wake = until.map_or(deadline, |until| until.min(deadline));
            if let Some(at) = self.quiet_at() {
                wake = wake.min(at);
            }
            let look_at = self.look_at();
            if let Some(at) = look_at {
                wake = wake.min(at);
            }
            let interest = match self.transfer.is_sent() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            tokio::select! {
                biased;
                heard = self.transfer.link.ready(interest) => match heard {
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
            if look_at.is_some_and(|at| now >= at) {
                if let Some(next) = self.look(now) {
                    return next;
                }
            }
            if until.is_some_and(|until| now >= until) {
                return Next::Paused;
            }
        }
    }

    fn late(&self) -> Next {
        let has_begun = self.transfer.came > 0;
        if !has_begun && self.transfer.may_half_close() {
            self.shared.tell_of_unseen_needs();
        }
        match self.shared.ends {
            ReplyEnds::Auto | ReplyEnds::Close if has_begun && self.transfer.may_be_whole() => {
                Next::End(EndedBy::Deadline)
            }
            _ => Next::Failed(Broken::Late),
        }
    }

    fn quiet_at(&self) -> Option<Instant> {
        match self.shared.ends {
            ReplyEnds::Quiet(quiet) if self.transfer.came > 0 => Some(self.transfer.last + quiet),
            _ => None,
        }
    }

    /// When to look at the server, if there is something to be seen that would change anything.
    fn look_at(&mut self) -> Option<Instant> {
        let has_begun = self.transfer.came > 0;
        let ends = self.shared.ends == ReplyEnds::Auto && has_begun && self.transfer.may_be_whole();
        let may = self.shared.watch.is_some()
            && self.transfer.is_sent()
            && (ends || (!has_begun && self.transfer.may_half_close()));
        may.then(|| self.looks.at(self.transfer.last))
    }

    fn look(&mut self, now: Instant) -> Option<Next> {
        let watch = self.shared.watch.as_ref()?;
        let deadline = self.transfer.last + self.shared.terms.deadline;
        let left = deadline.saturating_duration_since(now);
        let times = Times { since: now.duration_since(self.begun), left };
        let seen = watch.look(self.transfer.link.as_fd(), times);
        self.looks.took(now, Instant::now(), seen);
        let has_begun = self.transfer.came > 0;
        match seen {
            Seen::Works | Seen::Unknown => None,
            // It has all of the request and says nothing: it can only wait for the end of it.
            Seen::Rests if !has_begun => {
                self.transfer.half_close();
                None
            }
            // Once more: what it wrote before it was seen to rest is here now.
            Seen::Rests => self.transfer.read().or(Some(Next::End(EndedBy::Certain))),
        }
    }

    fn ended(self, by: EndedBy, reply: &[u8]) {
        let Self { shared, transfer, .. } = self;
        let Transfer { link, request, .. } = transfer;
        shared.terms.notices.tell(Notice::ReplyEnded { by });
        match by {
            EndedBy::Certain | EndedBy::Deadline => shared.advise(reply, request.bytes(), by),
            EndedBy::Quiet => {
                tokio::spawn(listen(shared, link));
            }
            EndedBy::Close | EndedBy::Rule => {}
        }
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            has_half_closed: self.transfer.has_half_closed,
            has_begun: self.transfer.came > 0,
            deadline: self.shared.terms.deadline,
        }
    }
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
