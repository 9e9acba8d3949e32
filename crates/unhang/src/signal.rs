//! The signals that ask a service to stop.

use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether one has come. After it a hang-up asks for nothing more: a terminal that is closed may send
/// it twice, the shell to its jobs and then the kernel, and the second is nobody's impatience.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Done when the process gets SIGTERM, SIGINT, or, for the first time, SIGHUP. From this call on, and
/// not only from the first poll, these no longer end the process by themselves. A SIGHUP that is
/// ignored, as below `nohup`, stays so.
///
/// Must be called on a Tokio runtime.
pub fn termination() -> impl Future<Output = ()> + Send + 'static {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let hears_hang_up = !ASKED.load(Ordering::Relaxed) && !ignores_hang_up();
    let mut hang_up = hears_hang_up.then(|| signal(SignalKind::hangup()).ok()).flatten();
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            // They could not be caught, so they still end the process as they always did.
            return pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = next(hang_up.as_mut()) => {}
        }
        ASKED.store(true, Ordering::Relaxed);
    }
}

async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// `SigIgn` in `proc_pid_status(5)` is a mask, of which the lowest bit is SIGHUP's.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 != 0)
}
