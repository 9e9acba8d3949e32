//! One poll of a future by somebody who does not wait for it: what can be done at once is done, and
//! what cannot has registered nothing, neither a descriptor nor a timer.
//!
//! A shard serves most exchanges by a single attempt. Where that is not enough, the future moves on
//! to a task, whose first poll does the same again and then waits; unless it has seen nothing at all
//! of its client, and is begun again when there is something.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

thread_local! {
    static UNDER_WAY: Cell<bool> = const { Cell::new(false) };
}

/// Polls once. Pending says only that it would have to wait; nobody will be woken.
pub(crate) fn attempt<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    with(true, || future.poll(&mut Context::from_waker(Waker::noop())))
}

/// Runs what is not ours in the middle of one: what it waits for itself has to be registered.
pub(crate) fn outside<T>(call: impl FnOnce() -> T) -> T {
    with(false, call)
}

fn with<T>(under_way: bool, call: impl FnOnce() -> T) -> T {
    /// Also where it panics.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            UNDER_WAY.set(self.0);
        }
    }

    let _back = Back(UNDER_WAY.replace(under_way));
    call()
}

/// Whether this poll is one: then nothing is to be registered.
pub(crate) fn is_attempt() -> bool {
    UNDER_WAY.get()
}
