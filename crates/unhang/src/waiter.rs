//! Where a shard waits for clients, or until it is called.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Weak;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::listen::Listener;
use crate::shards::{Shard, Shards};

/// An epoll of its own, with the shard's bell in it, and the listener unless the shard stands by.
pub(crate) struct Waiter(OwnedFd);

const CLIENTS: u64 = 0;
const BELL: u64 = 1;

impl Waiter {
    pub(crate) fn new(shard: &Shard, listener: &Listener) -> rustix::io::Result<Self> {
        let waiter = Self(epoll::create(CreateFlags::CLOEXEC)?);
        waiter.watch(listener)?;
        epoll::add(&waiter.0, shard.bell(), EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(waiter)
    }

    /// The kernel wakes only one of all that wait so for the same listener (`EPOLLEXCLUSIVE`,
    /// `epoll_ctl(2)`): to wake each for every client costs more than to serve it.
    fn watch(&self, listener: &Listener) -> rustix::io::Result<()> {
        let clients = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(&self.0, listener, EventData::new_u64(CLIENTS), clients)
    }

    /// Until somebody is there or the bell was rung; a signal may end it sooner.
    pub(crate) fn wait(&self, shards: &Shards, shard: &Shard, listener: &Weak<Listener>) {
        if shards.one_is_enough() {
            if self.ask(shard, Some(&Timespec::default())) {
                return;
            }
            if shards.stand_by(shard) {
                // While it watches and does not sleep, the kernel goes through it for each client.
                let _ = listener.upgrade().map(|listener| epoll::delete(&self.0, listener));
            }
        }
        self.ask(shard, None);
        if shard.stands_by() {
            // Where that fails it goes on standing by, and serves when it is called.
            let watched = listener.upgrade().map(|listener| self.watch(&listener));
            if watched.is_some_and(|watched| watched.is_ok()) {
                shards.is_up(shard);
            }
        }
    }

    /// Whether there is anything, within that time.
    fn ask(&self, shard: &Shard, within: Option<&Timespec>) -> bool {
        let mut events = [MaybeUninit::uninit(); 2];
        let Ok((events, _)) = epoll::wait(&self.0, &mut events, within) else { return false };
        if events.iter().any(|event| event.data.u64() == BELL) {
            shard.bell().hear();
        }
        !events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::listen::Bind;

    /// Others would count on it, and nobody would wait for clients.
    #[test]
    fn who_is_called_and_cannot_watch_stands_by_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let listener = Arc::new(Bind::new(folder.path().join("s")).listen().unwrap());
        let shards = Shards::new(2).unwrap();
        let shard = &shards.all[0];
        let waiter = Waiter::new(shard, &listener).unwrap();
        let known = Arc::downgrade(&listener);
        shard.bell().ring();
        waiter.wait(&shards, shard, &known);
        assert!(!shard.stands_by(), "it was called already");
        // One that is gone cannot be watched.
        assert!(shards.stand_by(shard));
        drop(listener);
        for _ in 0..2 {
            shards.call_another();
            waiter.wait(&shards, shard, &known);
            assert!(shard.stands_by());
        }
    }

    #[test]
    fn who_stands_by_is_woken_by_its_bell_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = Arc::new(Bind::new(&path).listen().unwrap());
        let shards = Shards::new(2).unwrap();
        let shard = &shards.all[0];
        let waiter = Waiter::new(shard, &listener).unwrap();
        let known = Arc::downgrade(&listener);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| waiter.wait(&shards, shard, &known));
            while !shard.stands_by() {
                std::thread::yield_now();
            }
            let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
            assert!(listener.has_waiting() && shard.stands_by() && !waits.is_finished());
            shards.call_another();
            waits.join().unwrap();
            assert!(!shard.stands_by());
            assert!(waiter.ask(shard, Some(&Timespec::default())), "it sees who waits");
        });
    }
}
