//! Signals that would end a server, or hide the end of its programs, if it left them as they were.

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Has them caught for the rest of the process's life; its programs get them as they are by default, as a handler does
/// not outlive an `execve()`. Needs a runtime.
pub(super) fn catch() {
    for number in [
        // A file that reaches the limit on sizes (`RLIMIT_FSIZE`), as the log may: setrlimit(2). With a handler
        // the write fails with EFBIG, and the log is full.
        Signal::XFSZ.as_raw(),
        // Inherited as ignored, it had the kernel throw away how a program ended: wait(2).
        Signal::CHILD.as_raw(),
    ] {
        // It fails for signals that cannot be caught, and without memory: then all is as it was.
        let _ = signal(SignalKind::from_raw(number));
    }
}
