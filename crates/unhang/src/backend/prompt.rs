//! Whether it pays to wait for a reply on the thread that has read the request. A server or a program that
//! answers within some microseconds is not worth a task, a registration and a wake-up of another thread:
//! they cost three times what the exchange itself does.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a thread waits: longer than a small reply takes, and shorter than a client notices. Others wait
/// meanwhile, as for a handler that computes for so long.
const MOST: Duration = Duration::from_micros(200);

/// A reply that did not come in that time costs as much as several that did save.
const LOST: u32 = 4;
/// So many such replies in a row are made up for by one that came.
const BEST: u32 = 16;
/// One request in so many tries again while none pays.
const RETRY: u32 = 64;

/// What was gained lately.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    gain: AtomicU32,
    asked: AtomicU32,
}

impl Prompt {
    /// Waits, if it is likely to pay. `wait` is told for how long, and says whether that was enough.
    pub(super) fn attempt(&self, wait: impl FnOnce(Duration) -> bool) {
        // Two threads may overwrite each other's figure: it is an estimate.
        let gain = self.gain.load(Ordering::Relaxed);
        if gain < LOST && self.asked.fetch_add(1, Ordering::Relaxed) % RETRY >= LOST {
            return;
        }
        let gain = if wait(MOST) { (gain + 1).min(BEST) } else { gain.saturating_sub(LOST) };
        self.gain.store(gain, Ordering::Relaxed);
    }
}

/// Whether this is a thread that serves, which may be taken for as long as by a handler that computes. A
/// task of the runtime must not block.
pub(super) fn may_block() -> bool {
    tokio::task::try_id().is_none()
}

/// Waits on this thread for one of these events, or for so long, which is less than a second. Whether one has
/// come.
pub(super) fn wait(on: &impl AsFd, events: PollFlags, within: Duration) -> bool {
    let within = Timespec { tv_sec: 0, tv_nsec: within.subsec_nanos().into() };
    poll(&mut [PollFd::new(on, events)], Some(&within)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a thousand replies are waited for.
    fn waits(prompt: &Prompt, come: bool) -> u32 {
        let mut waits = 0;
        for _ in 0..1000 {
            prompt.attempt(|_| {
                waits += 1;
                come
            });
        }
        waits
    }

    #[test]
    fn replies_are_waited_for_as_long_as_they_come() {
        let prompt = Prompt::default();
        assert!(waits(&prompt, true) > 900);
        assert!(waits(&prompt, false) < 150);
        assert!(waits(&prompt, true) > 900);
    }

    #[tokio::test]
    async fn a_task_of_the_runtime_does_not_block() {
        assert!(!tokio::spawn(async { may_block() }).await.unwrap());
        assert!(std::thread::spawn(may_block).join().unwrap());
    }
}
