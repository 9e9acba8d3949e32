//! One thread of load: its clients, driven by epoll.
//!
//! No task and no timer per exchange: what the generator costs, the server may lack.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;

use super::arrivals::{Arrivals, Next};
use super::exchange::{Exchange, Script, Step};
use super::tally::{Ended, Tally};
use crate::connection::Connection;

/// What the threads tell while they run, and what they are told.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Nothing more is begun, and nothing more waited for.
    pub(super) stop: AtomicBool,
    pub(super) ended: AtomicU64,
    /// How many of them not as they must.
    pub(super) failed: AtomicU64,
    /// When the warm-up was over.
    pub(super) began: OnceLock<Instant>,
}

impl Watch {
    pub(super) fn begin(&self) {
        self.ended.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
        self.began.get_or_init(Instant::now);
    }

    pub(super) fn count(&self, ended: Ended) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        if ended != Ended::Answered {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How long a client pauses that found the accept queue full, or nobody there. The kernel tells
/// nobody when there is room again, and to ask at once would be to spin.
pub(super) const PAUSE: Duration = Duration::from_millis(1);
/// Later than this after it was due is late: a timer alone is hardly ever that late.
const LATE: Duration = Duration::from_millis(1);
/// How often a thread that waits looks whether it shall stop.
const GLANCE: Duration = Duration::from_millis(100);
/// A reply is read in pieces of at most this: as large as a Unix socket's buffer, about.
pub(super) const BUFFER: usize = 64 * 1024;
/// Events that are taken from the kernel at once.
const EVENTS: usize = 256;

pub(super) struct Driver<'a> {
    script: &'a Script,
    watch: &'a Watch,
    timeout: Duration,
    arrivals: Arrivals,
    began: Instant,
    /// When what was due and could not be begun is given up.
    last_start: Option<Instant>,
    epoll: OwnedFd,
    clients: Vec<Client>,
    free: Vec<usize>,
    /// From when on there was always one.
    free_since: Instant,
    /// In the order of their time, as all pause for the same one.
    paused: VecDeque<(Instant, usize, Option<Knock>)>,
    /// Of the exchanges under way. A client that found the accept queue full came earlier than some that
    /// are connected already, so these are not in the order in which they begin.
    deadlines: BTreeSet<(Instant, usize)>,
    tally: Tally,
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Client {
    exchange: Option<Exchange>,
    /// Between two exchanges.
    kept: Option<Connection>,
    /// How many it has begun: tells an event of the one before from one of this.
    nth: u32,
}

/// An exchange that waits for room in the accept queue.
#[derive(Clone, Copy, Debug)]
struct Knock {
    since: Instant,
    deadline: Instant,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        script: &'a Script,
        watch: &'a Watch,
        (clients, timeout): (usize, Duration),
        arrivals: Arrivals,
        (began, last_start): (Instant, Option<Instant>),
    ) -> io::Result<Self> {
        Ok(Self {
            script,
            watch,
            timeout,
            arrivals,
            began,
            last_start,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: (0..clients).map(|_| Client::default()).collect(),
            free: (0..clients).rev().collect(),
            free_since: began,
            paused: VecDeque::new(),
            deadlines: BTreeSet::new(),
            tally: Tally::new().map_err(io::Error::other)?,
            buffer: vec![0; BUFFER],
        })
    }

    /// Until all that were begun have ended, and no more shall be.
    pub(super) fn run(mut self) -> io::Result<Tally> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        while !self.watch.stop.load(Ordering::Relaxed) {
            self.end_pauses()?;
            self.end_late_ones();
            self.give_up_late_starts();
            self.begin_due()?;
            let Some(next) = self.next() else { break };
            self.wait(next, &mut events)?;
            for event in events.drain(..) {
                self.go_on(event.data.u64())?;
                self.begin_due()?;
            }
        }
        Ok(self.tally)
    }

    /// Begins whatever may begin now.
    fn begin_due(&mut self) -> io::Result<()> {
        while let Some(&client) = self.free.last() {
            let now = Instant::now();
            let since = match self.arrivals.next(now.saturating_duration_since(self.began)) {
                Next::Now => now,
                Next::Due(due) => self.began + due,
                Next::At(_) | Next::Never => break,
            };
            if now.saturating_duration_since(since) > LATE {
                self.tally.late += 1;
                self.tally.late_generator += u64::from(since >= self.free_since);
            }
            self.free.pop();
            for _ in 0..self.script.depth {
                self.arrivals.begun();
            }
            self.connect(client, Knock { since, deadline: now + self.timeout }, true)?;
        }
        Ok(())
    }

    fn connect(&mut self, client: usize, knock: Knock, is_first: bool) -> io::Result<()> {
        if let Some(kept) = self.clients[client].kept.take() {
            let exchange = Exchange::again(kept, self.script, knock.since, knock.deadline);
            if self.begin(client, exchange)? {
                return Ok(());
            }
        }
        match Exchange::connect(self.script, knock.since, knock.deadline) {
            Ok(exchange) => self.begin(client, exchange).map(|_| ()),
            Err(Errno::AGAIN) => {
                self.tally.queue_full += u64::from(is_first);
                self.paused.push_back((Instant::now() + PAUSE, client, Some(knock)));
                Ok(())
            }
            Err(error) => {
                self.connect_failed(client, error, knock.since);
                Ok(())
            }
        }
    }

    /// Whether it has: not on a kept connection that the server has ended meanwhile.
    fn begin(&mut self, client: usize, mut exchange: Exchange) -> io::Result<bool> {
        exchange.begin(self.script);
        if exchange.is_stale() {
            return Ok(false);
        }
        let slot = &mut self.clients[client];
        slot.nth = slot.nth.wrapping_add(1);
        let name = epoll::EventData::new_u64(u64::from(slot.nth) << 32 | client as u64);
        match exchange.is_reused() {
            true => epoll::modify(&self.epoll, &exchange, name, exchange.interest())?,
            false => epoll::add(&self.epoll, &exchange, name, exchange.interest())?,
        }
        self.deadlines.insert((exchange.deadline, client));
        slot.exchange = Some(exchange);
        Ok(true)
    }

    /// One client has something to read, or room to write.
    fn go_on(&mut self, name: u64) -> io::Result<()> {
        // The lower half is the number of a client.
        #[allow(clippy::cast_possible_truncation)]
        let (client, nth) = ((name & u64::from(u32::MAX)) as usize, name >> 32);
        let slot = &mut self.clients[client];
        if u64::from(slot.nth) != nth {
            return Ok(());
        }
        let Some(exchange) = slot.exchange.as_mut() else {
            // The server has ended it, or says what nobody asked for.
            slot.kept = None;
            return Ok(());
        };
        let had_sent = exchange.has_sent();
        let step = exchange.go_on(self.script, &mut self.buffer);
        if matches!(step, Step::Waits) && exchange.has_sent() != had_sent {
            let name = epoll::EventData::new_u64(name);
            epoll::modify(&self.epoll, &*exchange, name, exchange.interest())?;
        }
        self.take(client, step);
        Ok(())
    }

    /// Notes the end of an exchange, if this is one.
    fn take(&mut self, client: usize, step: Step) {
        if matches!(step, Step::Waits) {
            return;
        }
        let Some(exchange) = self.clients[client].exchange.take() else { return };
        self.deadlines.remove(&(exchange.deadline, client));
        let since = exchange.since;
        match step {
            Step::Waits => {}
            Step::ConnectFailed(error) => self.connect_failed(client, error, since),
            Step::Done(ended) => {
                let counts = exchange.counts(ended, self.script.depth);
                // The close is part of it, if there is one: the next begins after it.
                self.clients[client].kept = exchange.kept();
                let now = Instant::now();
                let took = now.saturating_duration_since(since);
                for (ended, count) in counts {
                    for _ in 0..count {
                        self.watch.count(ended);
                        self.tally.count(ended, took);
                    }
                }
                if ended == Ended::Answered {
                    self.tally.last_answer = now.saturating_duration_since(self.began);
                }
                self.release(client, now);
            }
        }
    }

    fn release(&mut self, client: usize, now: Instant) {
        if self.free.is_empty() {
            self.free_since = now;
        }
        self.free.push(client);
    }

    fn connect_failed(&mut self, client: usize, error: Errno, since: Instant) {
        let now = Instant::now();
        self.watch.count(Ended::ConnectFailed);
        self.tally.connect_failed(error, now.saturating_duration_since(since));
        self.paused.push_back((now + PAUSE, client, None));
    }

    fn end_pauses(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while self.paused.front().is_some_and(|paused| paused.0 <= now) {
            let Some((_, client, knock)) = self.paused.pop_front() else { break };
            match knock {
                None => self.release(client, now),
                Some(Knock { since, deadline }) if deadline <= now => {
                    self.connect_failed(client, Errno::AGAIN, since);
                }
                Some(knock) => self.connect(client, knock, false)?,
            }
        }
        Ok(())
    }

    fn end_late_ones(&mut self) {
        let now = Instant::now();
        while self.deadlines.first().is_some_and(|first| first.0 <= now) {
            let Some((_, client)) = self.deadlines.pop_first() else { break };
            let Some(exchange) = &mut self.clients[client].exchange else { continue };
            let step = exchange.at_deadline(self.script, &mut self.buffer);
            self.take(client, step);
        }
    }

    fn give_up_late_starts(&mut self) {
        let Some(last) = self.last_start.filter(|last| Instant::now() > *last) else { return };
        let waited_until = last.saturating_duration_since(self.began);
        while let Next::Due(due) = self.arrivals.next(waited_until) {
            // There may be very many.
            if self.watch.stop.load(Ordering::Relaxed) {
                return;
            }
            self.arrivals.begun();
            self.tally.not_started(waited_until.saturating_sub(due));
        }
    }

    /// Until when there is nothing to do unless an event comes; None when all is done.
    fn next(&self) -> Option<Wake> {
        let now = Instant::now();
        let due = match self.arrivals.next(now.saturating_duration_since(self.began)) {
            Next::At(due) => Some(self.began + due),
            // It came due after the last look.
            Next::Due(_) | Next::Now if !self.free.is_empty() => Some(now),
            Next::Due(_) | Next::Now => self.last_start,
            Next::Never if self.free.len() == self.clients.len() => return None,
            Next::Never => None,
        };
        let precise = due.into_iter().chain(self.paused.front().map(|paused| paused.0)).min();
        let coarse = self.deadlines.first().map(|deadline| deadline.0);
        let until = precise.into_iter().chain(coarse).min().unwrap_or(now + GLANCE);
        let pause = until.saturating_duration_since(now).min(GLANCE);
        Some(Wake { pause, is_precise: precise.is_some() })
    }

    fn wait(&self, wake: Wake, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let mut timeout = timespec(wake.pause);
        if wake.is_precise {
            // Only this one of the two counts in less than milliseconds on every kernel.
            let ready = poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&timeout));
            match ready {
                Ok(0) | Err(Errno::INTR) => return Ok(()),
                Ok(_) => timeout = timespec(Duration::ZERO),
                Err(error) => return Err(error.into()),
            }
        }
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// How long to wait, and whether to the microsecond.
#[derive(Clone, Copy)]
struct Wake {
    pause: Duration,
    is_precise: bool,
}

pub(super) fn timespec(span: Duration) -> Timespec {
    // A time that does not fit is longer than any run.
    Timespec::try_from(span).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

#[cfg(test)]
mod tests;
