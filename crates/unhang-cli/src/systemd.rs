//! systemd's side of a service: a socket that it holds for us, and what it wants to hear. Outside
//! of systemd all of this does nothing.

use std::io;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// The one socket that was passed to us (`LISTEN_FDS`, `sd_listen_fds(3)`).
pub(crate) fn inherited() -> io::Result<Option<UnixListener>> {
    let mut sockets = ListenFd::from_env();
    match sockets.len() {
        0 => Ok(None),
        1 => sockets.take_unix_listener(0),
        count => Err(io::Error::other(format!(
            "expected one socket, got {count}: give each service a socket unit of its own"
        ))),
    }
}

/// Clients can connect.
pub(crate) fn ready() {
    tell(NotifyState::Ready);
}

/// No new ones are let in.
pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}

/// Says that we live, at half of the time in which systemd wants to hear it (`WatchdogSec=`). To be
/// run where the deadlines are kept: what it vouches for is that they are.
pub(crate) async fn keep_watchdog_content() {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval(within / 2);
    loop {
        tick.tick().await;
        tell(NotifyState::Watchdog);
    }
}

fn tell(state: NotifyState<'_>) {
    // Nobody who is not there to listen can be told.
    let _ = sd_notify::notify(&[state]);
}
