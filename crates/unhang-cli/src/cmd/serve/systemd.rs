//! systemd's side of a service: a socket that it holds for us, and what it wants to hear. Outside
//! of systemd all of this does nothing.

mod variables;

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::time::sleep;
use unhang::Gauges;

use variables::Passed;

/// What systemd, or a program that does as it does, has passed.
pub(crate) enum Inherited {
    Nothing,
    Socket(UnixListener),
    /// It was passed to this process, and not to ours.
    ToAnother(u32),
}

/// The one socket that was passed to us (`LISTEN_FDS`, `sd_listen_fds(3)`).
pub(crate) fn inherited() -> io::Result<Inherited> {
    let (pid, count) = (env::var_os("LISTEN_PID"), env::var_os("LISTEN_FDS"));
    let passed = variables::passed(pid.as_deref(), count.as_deref(), std::process::id());
    match passed.map_err(io::Error::other)? {
        Passed::Nothing => Ok(Inherited::Nothing),
        Passed::ToAnother(pid) => Ok(Inherited::ToAnother(pid)),
        Passed::ToUs => {
            let socket = ListenFd::from_env().take_unix_listener(0)?;
            Ok(socket.map_or(Inherited::Nothing, Inherited::Socket))
        }
    }
}

/// Where systemd hears of us (`NOTIFY_SOCKET`, `sd_notify(3)`). Opened once and kept: a server that is
/// out of descriptors lives, and is to be heard.
pub(crate) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// Where it waits until systemd reads.
    runtime: Handle,
}

/// For how long its queue is left alone once it was found full: ten messages that nobody has read yet,
/// or so, `unix(7)`.
const PAUSE: Duration = Duration::from_millis(50);

/// How old the pulse of a living server may be: twice the second in which it comes.
const PULSE: Duration = Duration::from_secs(2);

/// As often as anybody may want to hear that we live: more would be to do nothing else.
const OFTEN: Duration = Duration::from_millis(1);

impl Notify {
    /// To be called on a runtime.
    pub(crate) fn from_env() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| open(&name).ok());
        Self { socket, runtime: Handle::current() }
    }

    /// Clients can connect.
    pub(crate) fn ready(self: &Arc<Self>) {
        self.tell(NotifyState::Ready);
    }

    /// No new ones are let in.
    pub(crate) fn stopping(self: &Arc<Self>) {
        self.tell(NotifyState::Stopping);
    }

    /// Says that the server lives, at half of the time in which systemd wants to hear it
    /// (`WatchdogSec=`), as long as `gauges` show that the thread lives that keeps the deadlines.
    pub(crate) async fn keep_watchdog_content(&self, gauges: &Gauges) {
        self.keep_watchdog_content_by(|| gauges.pulse()).await;
    }

    /// The same by another pulse, a number that grows at least once a second.
    pub(crate) async fn keep_watchdog_content_by(&self, beats: impl Fn() -> usize) {
        let Some(within) = sd_notify::watchdog_enabled().filter(|within| !within.is_zero()) else {
            return;
        };
        // That thread's pulse may be a second old.
        let mut last = None;
        let mut heard = Instant::now();
        loop {
            let pulse = beats();
            if last.replace(pulse) != Some(pulse) {
                heard = Instant::now();
            }
            if heard.elapsed() <= within.max(PULSE) {
                self.tell_once_it_reads(NotifyState::Watchdog).await;
            }
            sleep((within / 2).max(OFTEN)).await;
        }
    }

    /// Does not wait for systemd to read.
    fn tell(self: &Arc<Self>, state: NotifyState<'static>) {
        if !self.is_told(&state) {
            let notify = Arc::clone(self);
            self.runtime.spawn(async move { notify.tell_once_it_reads(state).await });
        }
    }

    async fn tell_once_it_reads(&self, state: NotifyState<'_>) {
        while !self.is_told(&state) {
            sleep(PAUSE).await;
        }
    }

    /// Or cannot be told, as nobody is there to listen.
    fn is_told(&self, state: &NotifyState<'_>) -> bool {
        let Some((socket, systemd)) = &self.socket else { return true };
        let sent = socket.send_to_addr(state.to_string().as_bytes(), systemd);
        !sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // The send of a library would wait until systemd reads.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}
