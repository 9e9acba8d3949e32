//! Connections that are open and silent beside the load, as a crowd of real clients has them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::driver::{PAUSE, Watch};
use super::target::{Connected, Target};
use crate::connection::{Connection, Read};

/// How often it looks whether all is over.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

#[derive(Debug)]
pub(super) struct Idle<'a> {
    target: &'a Target,
    watch: &'a Watch,
    sockets: Vec<Option<Connection>>,
    epoll: OwnedFd,
    /// How many the server has closed. Others were opened in their place.
    pub(super) closed: AtomicU64,
}

impl<'a> Idle<'a> {
    /// Fewer when it is interrupted.
    pub(super) fn open(
        target: &'a Target,
        count: usize,
        timeout: Duration,
        watch: &'a Watch,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let sockets = (0..count).map(|_| None).collect();
        let mut idle = Self { target, watch, sockets, epoll, closed: AtomicU64::new(0) };
        for nth in 0..count {
            match idle.connect(nth, Instant::now() + timeout) {
                _ if watch.stop.load(Ordering::Relaxed) => break,
                result => result?,
            }
        }
        Ok(idle)
    }

    fn connect(&mut self, nth: usize, deadline: Instant) -> io::Result<()> {
        loop {
            match self.target.connect() {
                Ok(Connected::Yes(socket) | Connected::Soon(socket)) => {
                    let name = epoll::EventData::new_u64(nth as u64);
                    let awaited = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
                    epoll::add(&self.epoll, &socket, name, awaited)?;
                    self.sockets[nth] = Some(socket);
                    return Ok(());
                }
                Err(Errno::AGAIN) if self.may_wait(deadline) => sleep(PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn may_wait(&self, deadline: Instant) -> bool {
        Instant::now() < deadline && !self.watch.stop.load(Ordering::Relaxed)
    }

    /// Opens another for each that the server closes, until all is over.
    pub(super) fn keep(&mut self, is_over: &AtomicBool) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        while !is_over.load(Ordering::Relaxed) {
            // Interrupted: as good as nothing to see.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&GLANCE));
            for event in events.drain(..) {
                // The number is one that we gave.
                #[allow(clippy::cast_possible_truncation)]
                self.look(event.data.u64() as usize);
            }
        }
    }

    fn look(&mut self, nth: usize) {
        let Some(socket) = &self.sockets[nth] else { return };
        // They do not mind bytes from the server; they mind a close.
        match socket.read(&mut [0; 4096]) {
            // One with a descriptor cannot be read any further: closed, and another opened.
            Ok(Read::Bytes(0) | Read::Descriptor) => {}
            Ok(Read::Bytes(_)) | Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => {}
        }
        self.sockets[nth] = None;
        self.closed.fetch_add(1, Ordering::Relaxed);
        // Not for long, as the others wait: the load is there to tell that nobody can connect.
        let _ = self.connect(nth, Instant::now());
    }

    pub(super) fn open_now(&self) -> usize {
        self.sockets.iter().flatten().count()
    }
}
