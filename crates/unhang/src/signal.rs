//! The signals that ask a service to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Done when the process gets SIGTERM or SIGINT. From its first poll on, these no longer end the
/// process by themselves.
pub async fn termination() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // They could not be caught, so they still end the process as they always did.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
