//! The signals that ask a service to stop.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

/// Done when the process gets SIGTERM or SIGINT. From this call on, and not only from the first
/// poll, these no longer end the process by themselves.
///
/// Must be called on a Tokio runtime.
pub fn termination() -> impl Future<Output = ()> + Send + 'static {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            // They could not be caught, so they still end the process as they always did.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
