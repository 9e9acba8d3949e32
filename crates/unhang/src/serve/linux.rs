//! The real machine: epoll(7), eventfd(2), the monotonic clock, and the runtime of the caller.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::listen::{Accepted, Listener};
use crate::serve::stream::{Interest, Socket};
use crate::serve::system::{Abort, Poller, Queue, Ready, System, Task};

pub(crate) struct Linux {
    /// Where handlers go on that do not end at once.
    pub(crate) handlers: Handle,
}

/// An epoll with a waker in it.
pub(crate) struct Epoll {
    epoll: OwnedFd,
    waker: OwnedFd,
}

/// So many reports at once. More would make a slow turn longer, fewer cost more waits.
const AT_ONCE: usize = 64;

// What an event carries: a connection's number, or one of these, which are larger than any number.
const CLIENTS: u64 = u64::MAX;
const WAKER: u64 = u64::MAX - 1;
const WORKER: u64 = 1 << 63;

impl System for Linux {
    type Stream = Socket;
    type Listener = Listener;
    type Poller = Epoll;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn poller(&self) -> io::Result<Epoll> {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &waker, EventData::new_u64(WAKER), EventFlags::IN)?;
        Ok(Epoll { epoll, waker })
    }

    fn spawn(&self, task: Task) -> Box<dyn Abort> {
        Box::new(self.handlers.spawn(task).abort_handle())
    }

    fn pause(&self) {
        std::thread::yield_now();
    }
}

impl Abort for AbortHandle {
    fn abort(&self) {
        AbortHandle::abort(self);
    }
}

impl Queue for Listener {
    type Stream = Socket;

    fn accept(&self) -> rustix::io::Result<Socket> {
        let Accepted { socket, may_bring_descriptors } = self.accept_client()?;
        Ok(Socket::new(socket, may_bring_descriptors))
    }

    fn has_waiting(&self) -> bool {
        Listener::has_waiting(self)
    }

    fn is_shut(&self) -> bool {
        Listener::is_shut(self)
    }

    fn close(&self) -> Option<bool> {
        self.try_close_door()
    }
}

impl Poller<Linux> for Epoll {
    fn watch(
        &self,
        stream: &Socket,
        number: u64,
        interest: Interest,
        again: bool,
    ) -> io::Result<()> {
        let input = EventFlags::IN | EventFlags::RDHUP;
        // Once: while a connection is stepped, on whatever thread, it must not be reported to another.
        let events = match interest {
            Interest::Read => EventFlags::ONESHOT | input,
            Interest::EachRead => input,
            Interest::Write => EventFlags::ONESHOT | EventFlags::OUT,
            // Its hang-up is reported all the same (EPOLLHUP, epoll_ctl(2)), but once.
            Interest::Nothing => EventFlags::ONESHOT,
        };
        let data = EventData::new_u64(number);
        if again {
            epoll::modify(&self.epoll, stream.as_fd(), data, events)?;
        } else {
            epoll::add(&self.epoll, stream.as_fd(), data, events)?;
        }
        Ok(())
    }

    fn forget(&self, stream: &Socket) {
        let _ = epoll::delete(&self.epoll, stream.as_fd());
    }

    fn watch_clients(&self, listener: &Listener, alone: bool) -> io::Result<()> {
        // To wake each thread for every client would cost more than to serve it (EPOLLEXCLUSIVE,
        // epoll_ctl(2)).
        let alone = if alone { EventFlags::EXCLUSIVE } else { EventFlags::empty() };
        let data = EventData::new_u64(CLIENTS);
        Ok(epoll::add(&self.epoll, listener.as_fd(), data, EventFlags::IN | alone)?)
    }

    fn forget_clients(&self, listener: &Listener) {
        let _ = epoll::delete(&self.epoll, listener.as_fd());
    }

    fn watch_worker(&self, poller: &Self, worker: usize) -> io::Result<()> {
        let data = EventData::new_u64(WORKER | worker as u64);
        Ok(epoll::add(&self.epoll, &poller.epoll, data, EventFlags::IN)?)
    }

    fn forget_worker(&self, poller: &Self) {
        let _ = epoll::delete(&self.epoll, &poller.epoll);
    }

    fn wake(&self) {
        // Fails only if it was woken more often than a u64 can count.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    fn wait(&self, ready: &mut Vec<Ready>, within: Option<Duration>) {
        let within = within.map(|within| Timespec {
            tv_sec: within.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: within.subsec_nanos().into(),
        });
        let mut events = [MaybeUninit::uninit(); AT_ONCE];
        ready.clear();
        // A signal may end it sooner.
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, within.as_ref()) else {
            return;
        };
        ready.extend(events.iter().map(|event| match event.data.u64() {
            CLIENTS => Ready::Clients,
            WAKER => {
                let _ = rustix::io::read(&self.waker, &mut [0; 8]);
                Ready::Woken
            }
            worker if worker & WORKER != 0 => {
                Ready::Worker(usize::try_from(worker & !WORKER).unwrap_or(usize::MAX))
            }
            number => Ready::Connection(number),
        }));
    }
}
