//! Connections from which nothing has come yet. They wait here together, and not each in a task with
//! a timer and a registration of its own, which take ten times the memory.
//!
//! Nothing is decided here: who has spoken, or whose time is up, goes on with its exchange from the
//! beginning, which finds the bytes, or that it is late.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

use crate::accept::Service;
use crate::admission::Guest;
use crate::drain::later;
use crate::gauges::Counted;
use crate::handler::Handler;
use crate::in_flight::{For, write_line};
use crate::limits::ACCEPT_PAUSE;
use crate::shards::Shards;
use crate::stream::{Silent, Socket};

/// So many go on before others have their turn.
const AT_ONCE: usize = 64;

/// All of them.
pub(crate) struct Idle {
    epoll: OwnedFd,
    waiting: Mutex<Waiting>,
    /// For who looks after them: the first has come.
    first: Notify,
}

#[derive(Default)]
struct Waiting {
    /// By their numbers: who came first is due first, or nearly so.
    all: BTreeMap<u64, Idler>,
    next: u64,
}

/// One of them, with all that it has of the server.
pub(crate) struct Idler {
    pub(crate) connection: Silent,
    pub(crate) guest: Guest,
    pub(crate) place: OwnedSemaphorePermit,
    pub(crate) counted: Counted,
}

impl Idle {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // Of no use to an epoll, but the runtime watches nothing else.
        rustix::io::ioctl_fionbio(&epoll, true)?;
        Ok(Self { epoll, waiting: Mutex::default(), first: Notify::new() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it back where the kernel has no room to watch it.
    pub(crate) fn admit(&self, idler: Idler) -> Result<(), Idler> {
        let mut waiting = self.waiting();
        let number = waiting.next;
        let (data, events) = (EventData::new_u64(number), EventFlags::IN | EventFlags::RDHUP);
        // Under the lock: who hears of it must find it.
        if epoll::add(&self.epoll, &idler.connection, data, events).is_err() {
            return Err(idler);
        }
        waiting.next += 1;
        if waiting.all.is_empty() {
            self.first.notify_one();
        }
        waiting.all.insert(number, idler);
        Ok(())
    }

    fn take(&self, number: u64) -> Option<Idler> {
        let idler = self.waiting().all.remove(&number)?;
        // Fails for nothing that was added.
        let _ = epoll::delete(&self.epoll, &idler.connection);
        Some(idler)
    }

    /// Who has waited longest, and since when.
    fn oldest(&self) -> Option<(u64, Instant)> {
        let waiting = self.waiting();
        waiting.all.first_key_value().map(|(&number, idler)| (number, idler.guest.accepted))
    }

    /// For [`look_after`], on the runtime that it runs on: that one watches the epoll as it would a
    /// stream, and by a descriptor of its own.
    pub(crate) fn watch(&self) -> io::Result<UnixStream> {
        UnixStream::from_std(self.epoll.try_clone()?.into())
    }

    /// Waits until some have sent something, or left; no more than a few at once.
    async fn spoken(&self, watch: &UnixStream) -> Vec<u64> {
        loop {
            match self.hear(watch).await {
                Ok(spoken) => return spoken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn hear(&self, watch: &UnixStream) -> io::Result<Vec<u64>> {
        watch.readable().await?;
        watch.try_io(Interest::READABLE, || {
            let mut events = [MaybeUninit::uninit(); AT_ONCE];
            let (events, _) = epoll::wait(&self.epoll, &mut events, Some(&Timespec::default()))?;
            if events.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(events.iter().map(|event| event.data.u64()).collect())
        })
    }

    /// A line as [`InFlight::lines`](crate::in_flight::InFlight::lines) has them, for each.
    pub(crate) fn lines(&self, deadline: Duration) -> String {
        let mut lines = String::new();
        for idler in self.waiting().all.values() {
            let since = idler.guest.accepted;
            let fd = idler.connection.descriptor();
            write_line(&mut lines, fd, For::Request, since, later(since, deadline));
        }
        lines
    }
}

/// For ever: has each go on when it has spoken, at its deadline, and at the end of the drain.
pub(crate) async fn look_after<H: Handler>(
    service: Arc<Service<H>>,
    shards: Arc<Shards>,
    watch: UnixStream,
) {
    let idle = &shards.idle;
    let deadline = service.rules.limits.read;
    let mut drain = service.rules.drain.clone();
    loop {
        let Some((_, since)) = idle.oldest() else {
            idle.first.notified().await;
            continue;
        };
        let due = later(since, deadline);
        let due = drain.end().map_or(due, |end| end.min(due));
        tokio::select! {
            spoken = idle.spoken(&watch) => {
                for number in spoken {
                    idle.take(number).into_iter().for_each(|idler| service.begin_again(idler));
                }
            }
            () = sleep_until(due) => {
                if let Some(idler) = idle.oldest().and_then(|(number, _)| idle.take(number)) {
                    service.begin_again(idler);
                }
            }
            () = drain.changed() => {}
        }
        // Many at once may not keep the thread from the others.
        yield_now().await;
    }
}

impl<H: Handler> Service<H> {
    /// With its exchange, from its first read on.
    pub(crate) fn begin_again(self: &Arc<Self>, idler: Idler) {
        let Idler { connection, guest, place, counted } = idler;
        let exchange = Arc::clone(self).exchange(Socket::from(connection), guest);
        self.go_on(Box::pin(exchange), place, counted);
    }
}
