//! Waits for a process that wants to serve instead of this one.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::accept::{Observer, tell};
use crate::drain::Stop;
use crate::event::Event;
use crate::handover::Control;
use crate::limits::ACCEPT_PAUSE;
use crate::listener::Listener;
use crate::peer;

/// Gives the socket to a successor that asks for it, and begins the drain when that one serves.
pub(crate) async fn wait(
    listener: Arc<Listener>,
    stop: Arc<Stop>,
    drain: Duration,
    observer: Observer,
) {
    let Some(Ok(control)) = listener.control().map(Control::listener) else { return };
    loop {
        let Ok((stream, _)) = control.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(stream) = stream.into_std() else { continue };
        let by = peer::of(stream.as_fd());
        let listener = Arc::clone(&listener);
        let given = spawn_blocking(move || listener.give_to(&stream)).await;
        match given.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(()) => {
                tell(&observer, &Event::Replaced { by });
                stop.begin(drain);
                return;
            }
            Err(error) => tell(&observer, &Event::NotReplaced { by, error: &error }),
        }
    }
}
