//! Connections from which nothing has come yet. They wait here together, and not each in a task with
//! a timer and a registration of its own, which take ten times the memory.
//!
//! Nothing is decided here: who has spoken, or whose time is up, goes on with its exchange from the
//! beginning, which finds the bytes, or that it is late.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::handler::Handler;
use crate::in_flight::{For, write_line};
use crate::limits::ACCEPT_PAUSE;
use crate::line::{InLine, Line};
use crate::serve::config::later;
use crate::serve::door::Service;
use crate::serve::stream::{Silent, Socket};
use crate::shards::Shards;

/// So many go on before others have their turn.
const AT_ONCE: usize = 64;

/// All of them.
pub(crate) struct Idle {
    epoll: OwnedFd,
    line: Line<Silent>,
}

impl Idle {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // Of no use to an epoll, but the runtime watches nothing else.
        rustix::io::ioctl_fionbio(&epoll, true)?;
        Ok(Self { epoll, line: Line::new() })
    }

    /// Gives it back where the kernel has no room to watch it.
    pub(crate) fn admit(&self, idler: InLine<Silent>) -> Result<(), InLine<Silent>> {
        let events = EventFlags::IN | EventFlags::RDHUP;
        let watch = |number, connection: &Silent| {
            epoll::add(&self.epoll, connection, EventData::new_u64(number), events).is_ok()
        };
        self.line.enter_if(idler, watch)
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
        self.line.each(|connection, since| {
            let fd = connection.descriptor();
            write_line(&mut lines, fd, For::Request, since, later(since, deadline));
        });
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
        let go_on = |idler: InLine<Silent>| {
            // Fails for nothing that was added.
            let _ = epoll::delete(&idle.epoll, &idler.what);
            service.begin_again(idler);
        };
        tokio::select! {
            spoken = idle.spoken(&watch) => {
                spoken.into_iter().filter_map(|number| idle.line.take(number)).for_each(go_on);
            }
            late = idle.line.late(deadline, &mut drain) => go_on(late),
        }
        // Many at once may not keep the thread from the others.
        yield_now().await;
    }
}

impl<H: Handler> Service<H> {
    /// With its exchange, from its first read on.
    pub(crate) fn begin_again(self: &Arc<Self>, idler: InLine<Silent>) {
        let InLine { what: connection, guest, place, counted } = idler;
        let exchange = Arc::clone(self).exchange(Socket::from(connection), guest);
        self.go_on(Box::pin(exchange), place, counted);
    }
}
