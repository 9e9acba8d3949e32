//! One connection's life: reading → handling → writing → closing, every state with a deadline.
//!
//! Every way out of [`Connection::run`] closes the connection, and no state can outlast its
//! deadline or the server's drain, whatever the client or the handler does.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::Instant;

use crate::attempt::is_attempt;
use crate::budget::{Budget, Share};
use crate::event::{Cause, Ended, Exchange, Scarce, State};
use crate::handler::{Body, Caller, Fault, Piece, Reply, Request};
use crate::in_flight::{For, InFlight, Waiter};
use crate::limits::Limits;
use crate::serve::admission::Guest;
use crate::serve::config::{Drain, after, later};
use crate::serve::stream::Stream;
use crate::wire::oneshot::{Framing, Next, Seen, Until};

/// What all connections of a server keep to. Each shard has one of its own, as counting who uses
/// it would be felt if all did so in one place.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) limits: Limits,
    /// What all requests may hold together.
    pub(crate) budget: Arc<Budget>,
    pub(crate) until: Until,
    /// What a client is told that gets no answer.
    pub(crate) refusal: Refusal,
    pub(crate) drain: Drain,
    /// Where whoever waits is noted.
    pub(crate) in_flight: Arc<InFlight>,
}

/// So many reads in a row, of whatever length, before others have their turn: a client that writes byte
/// by byte on another core may never let the queue run dry.
const READS: u32 = 64;

pub(crate) type Refusal = Arc<dyn Fn(&Cause) -> Option<Reply> + Send + Sync>;

/// A connection under way.
pub(crate) struct Connection<S> {
    stream: S,
    rules: Arc<Rules>,
    guest: Guest,
    bytes_in: usize,
    bytes_out: usize,
    handled: Option<Duration>,
    /// How far the client has come with its side.
    input: Input,
    waited_for_handler: bool,
    held: Share,
}

/// What is known of the client's side of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// The request is not whole.
    Unfinished,
    /// The request is whole, and nothing was seen after it.
    Whole,
    /// More came after the request.
    Overfull,
    /// The client has half-closed: nothing comes after it.
    Ended,
}

impl<S: Stream> Connection<S> {
    pub(crate) fn new(stream: S, rules: Arc<Rules>, guest: Guest) -> Self {
        let held = rules.budget.share();
        Self {
            stream,
            rules,
            guest,
            bytes_in: 0,
            bytes_out: 0,
            handled: None,
            input: Input::Unfinished,
            waited_for_handler: false,
            held,
        }
    }

    /// From the accept to the close.
    pub(crate) async fn run<H, A>(mut self, handler: H) -> Exchange
    where
        H: FnOnce(Request) -> A,
        A: Future<Output = Result<Reply, Fault>>,
    {
        let answer = match self.read().await {
            Ok(bytes) => {
                let peer = self.guest.peer;
                let caller = peer.map_or_else(|| self.stream.caller(), Caller::Known);
                self.handle(handler(Request::from(bytes, caller, None))).await
            }
            Err(ended) => Err(ended),
        };
        let ended = match answer {
            Ok(reply) => self.reply(reply).await,
            // Boxed, as it is rare, and would be the largest part of every exchange.
            Err(Ended::Refused(cause)) => Box::pin(self.refuse(cause)).await,
            Err(ended) => ended,
        };
        if matches!(ended, Ended::Answered | Ended::Refused(_)) {
            self.linger().await;
        }
        self.guest.leave();
        // Who got no answer is worth the system call.
        let peer = match ended {
            Ended::Answered => self.guest.peer,
            _ => self.guest.peer.or_else(|| self.stream.peer()),
        };
        if self.input == Input::Ended {
            // Not by the close alone: a process that the handler has forked may hold a copy. Fails only
            // where the client is gone.
            let _ = self.stream.half_close();
        } else {
            // More may have come since the last look.
            self.bytes_in += self.stream.close();
        }
        Exchange {
            peer,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            took: self.guest.accepted.elapsed(),
            handled: self.handled,
            ended,
        }
    }

    async fn read(&mut self) -> Result<Vec<u8>, Ended> {
        let Limits { read, settle, max_request, .. } = self.rules.limits;
        let deadline = later(self.guest.accepted, read);
        let mut framing = Framing::new(self.rules.until);
        let mut request = Vec::new();
        let mut settled = None;
        let mut reads = 0_u32;
        loop {
            let first = settled.unwrap_or(deadline).min(deadline);
            let waiter = Waiter::new(&self.stream, For::Request).since(self.guest.accepted);
            let read = read_chunk(&mut self.stream, &mut request);
            let seen = match within(|| first, &self.rules, waiter, read).await {
                Ok(seen) => seen.map_err(|error| ended_by(error, State::Reading))?,
                Err(Late::Deadline) if first < deadline => Seen::Settled,
                Err(Late::Deadline) => {
                    let until = self.rules.until;
                    return Err(Ended::Refused(Cause::RequestLate {
                        deadline: self.rules.limits.read,
                        until,
                    }));
                }
                Err(Late::Drained) => return Err(Ended::Refused(Cause::Stopping)),
            };
            self.bytes_in = request.len();
            if seen == Seen::End {
                self.input = Input::Ended;
                if request.is_empty() && self.stream.is_hung_up() {
                    return Err(Ended::NoRequest);
                }
            }
            if !self.held.grow_to(request.len()) {
                let most = self.rules.budget.most;
                return Err(Ended::Refused(Cause::Busy(Scarce::Memory { most })));
            }
            let next = framing.next(&request, seen);
            let length = if let Next::Whole(length) = next { length } else { request.len() };
            if length > max_request {
                return Err(Ended::Refused(Cause::RequestTooLong { limit: max_request }));
            }
            match next {
                Next::Whole(_) => {
                    if self.input == Input::Unfinished {
                        let more = length < request.len();
                        self.input = if more { Input::Overfull } else { Input::Whole };
                    }
                    request.truncate(length);
                    return Ok(request);
                }
                Next::Settle => settled = Some(after(settle)),
                Next::Read => settled = None,
            }
            // A fast writer may not keep the thread from the other connections, nor one of many pieces.
            reads += 1;
            if seen == Seen::More || reads % READS == 0 {
                yield_now().await;
            }
        }
    }

    async fn handle(
        &mut self,
        answer: impl Future<Output = Result<Reply, Fault>>,
    ) -> Result<Reply, Ended> {
        let deadline = self.rules.limits.handler;
        let asked = Instant::now();
        let late = || later(asked, deadline);
        let waiter = Waiter::new(&self.stream, For::Handler).since(asked);
        let (mut answer, mut looks) = (pin!(answer), 0);
        let answer = poll_fn(|cx| {
            looks += 1;
            answer.as_mut().poll(cx)
        });
        let answer = within(late, &self.rules, waiter, answer).await;
        self.waited_for_handler = looks > 1;
        self.handled = Some(asked.elapsed());
        let cause = match answer {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(fault)) => Cause::HandlerFailed(fault),
            Err(Late::Deadline) => Cause::HandlerLate { deadline },
            Err(Late::Drained) => Cause::Stopping,
        };
        Err(Ended::Refused(cause))
    }

    async fn write(&mut self, reply: &[u8]) -> Result<(), Ended> {
        let deadline = || after(self.rules.limits.write);
        let waiter = Waiter::new(&self.stream, For::Reader);
        let write = write_all(&mut self.stream, reply, &mut self.bytes_out, &mut self.bytes_in);
        match within(deadline, &self.rules, waiter, write).await {
            Ok(written) => written.map_err(|error| ended_by(error, State::Writing)),
            Err(Late::Deadline | Late::Drained) => Err(Ended::ReplyNotTaken),
        }
    }

    async fn reply(&mut self, reply: Reply) -> Ended {
        let mut pieces = match reply.0 {
            Body::Whole(bytes) => return self.write(&bytes).await.err().unwrap_or(Ended::Answered),
            Body::Pieces(pieces) => pieces,
        };
        loop {
            match pieces.recv().await {
                Some(Piece::Bytes(bytes)) => {
                    if let Err(ended) = self.write(&bytes).await {
                        return ended;
                    }
                }
                Some(Piece::End) => return Ended::Answered,
                Some(Piece::Failed(fault)) => return Ended::Refused(Cause::HandlerFailed(fault)),
                None => return Ended::ReplyNotTaken,
            }
        }
    }

    /// Tells the client why it gets no answer. That it cannot be told changes nothing.
    async fn refuse(&mut self, cause: Cause) -> Ended {
        let own = if let Cause::HandlerFailed(fault) = &cause { fault.reply() } else { None };
        if let Some(reply) = own {
            let _ = self.write(reply).await;
        } else if let Some(reply) = (self.rules.refusal)(&cause) {
            let _ = self.write(reply.whole().unwrap_or_default()).await;
        }
        Ended::Refused(cause)
    }

    /// A client that is still writing would have its next write fail, and might never come to read
    /// its answer. So it is given the end first (half-close), and its input discarded until it
    /// closes.
    async fn linger(&mut self) {
        let input_follows = match self.input {
            Input::Unfinished | Input::Overfull => true,
            // In a single attempt no time has passed since the last look.
            Input::Whole => {
                let waited = self.waited_for_handler || !is_attempt();
                waited && self.stream.has_unread()
            }
            Input::Ended => false,
        };
        if !input_follows || self.stream.half_close().is_err() {
            return;
        }
        let waiter = Waiter::new(&self.stream, For::Close);
        let discard = async {
            while let Ok(bytes @ 1..) = discard_chunk(&mut self.stream).await {
                self.bytes_in += bytes;
                yield_now().await;
            }
        };
        // Late or not, what follows is the close.
        let late = || after(self.rules.limits.linger);
        let _ = within(late, &self.rules, waiter, discard).await;
    }
}

/// Why a state was left before it was done.
#[derive(Clone, Copy)]
enum Late {
    Deadline,
    Drained,
}

/// Does `work` first and looks at the clock only when that waits: work that can be done at once is
/// done even when time is up, so a last word still reaches a client that reads.
async fn within<T>(
    deadline: impl FnOnce() -> Instant,
    rules: &Rules,
    waiter: Waiter,
    work: impl Future<Output = T>,
) -> Result<T, Late> {
    let mut work = pin!(work);
    // An attempt goes no further than this: no clock is read and no timer made for work that is
    // done at once.
    let at_once = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Pending if !is_attempt() => Poll::Ready(None),
        other => other.map(Some),
    });
    if let Some(done) = at_once.await {
        return Ok(done);
    }
    // Boxed, as most connections never come to this, and the others are never in two of these at once.
    Box::pin(wait(deadline(), rules, waiter, work)).await
}

async fn wait<T>(
    deadline: Instant,
    rules: &Rules,
    waiter: Waiter,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Late> {
    let _told_who_asks = rules.in_flight.enter(waiter, deadline);
    let mut drain = rules.drain.clone();
    let late = loop {
        let (first, late) = match drain.end() {
            Some(end) if end < deadline => (end, Late::Drained),
            _ => (deadline, Late::Deadline),
        };
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = tokio::time::sleep_until(first) => break late,
            () = drain.changed() => {}
        }
    };
    // The clock may be ahead of the news: a server that was stopped and goes on has its wait for
    // sockets ended by the signal, with none. So the runtime looks at them (it does before it goes
    // on with who yields), and the work gets its last try.
    yield_now().await;
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => Poll::Ready(Err(late)),
    })
    .await
}

/// What ended a state in which a read or a write failed.
fn ended_by(error: io::Error, state: State) -> Ended {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, OutOfMemory, StorageFull};
    match error.kind() {
        BrokenPipe | ConnectionReset => Ended::ClientGone(state),
        // ENOMEM and ENOSPC. Nothing has been written: the client can be told.
        OutOfMemory | StorageFull if state == State::Reading => {
            Ended::Refused(Cause::Busy(Scarce::Kernel))
        }
        _ => Ended::Failed(state, error),
    }
}

thread_local! {
    /// One buffer for all reads of a thread, so that an idle connection holds none. Larger than
    /// what one `write` is handed over in, so that a read that does not fill it has emptied the
    /// queue.
    static CHUNK: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

async fn read_chunk<S: Stream>(stream: &mut S, request: &mut Vec<u8>) -> io::Result<Seen> {
    poll_fn(|cx| {
        CHUNK.with_borrow_mut(|chunk| {
            stream.poll_read(cx, chunk).map_ok(|bytes| {
                request.extend_from_slice(&chunk[..bytes]);
                match bytes {
                    0 => Seen::End,
                    _ if bytes == chunk.len() => Seen::More,
                    _ => Seen::Dry,
                }
            })
        })
    })
    .await
}

async fn discard_chunk<S: Stream>(stream: &mut S) -> io::Result<usize> {
    poll_fn(|cx| CHUNK.with_borrow_mut(|chunk| stream.poll_read(cx, chunk))).await
}

/// Writes it all, and discards what comes meanwhile: a client that writes on before it reads would
/// otherwise wait for us as we wait for it.
async fn write_all<S: Stream>(
    stream: &mut S,
    mut bytes: &[u8],
    written: &mut usize,
    discarded: &mut usize,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| {
            let write = stream.poll_write(cx, bytes);
            if write.is_pending() {
                let read = CHUNK.with_borrow_mut(|chunk| stream.poll_read(cx, chunk));
                if let Poll::Ready(Ok(count @ 1..)) = read {
                    *discarded += count;
                    cx.waker().wake_by_ref();
                }
            }
            write
        })
        .await?;
        *written += count;
        bytes = &bytes[count..];
        if !bytes.is_empty() {
            // A fast reader may not keep the thread from the other connections.
            yield_now().await;
        }
    }
    Ok(())
}

#[cfg(any(test, fuzzing))]
pub(crate) mod sim;
#[cfg(test)]
mod tests;
