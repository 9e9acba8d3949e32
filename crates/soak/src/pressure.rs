//! A machine that is short of processors: a client may then be stopped anywhere, also between two of its
//! writes.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{available_parallelism, scope, sleep};
use std::time::Duration;

/// Keeps every processor busy three times over for so long.
pub(crate) fn press(length: Duration) {
    let done = AtomicBool::new(false);
    let threads = 3 * available_parallelism().map_or(1, std::num::NonZero::get);
    scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        sleep(length);
        done.store(true, Relaxed);
    });
}
