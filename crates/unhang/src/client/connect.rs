//! Connecting, by a deadline: a full accept queue is tried again, and what the kernel answers is told
//! apart.

use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use tokio::time::{Instant, sleep_until};

use super::socket::{Socket, Unregistered};
use crate::Address;
use crate::error::ErrorKind;

/// The first pause before another attempt, and the longest. An accept queue of the usual size is worked
/// off within milliseconds, and a server starts within tens of them. More attempts help no stuck server.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// `waits`: also while there is no server yet.
pub(super) async fn connected(
    address: &Address,
    waits: bool,
    started: Instant,
    deadline: Instant,
) -> Result<Socket, ErrorKind> {
    let (mut pause, longest) = PAUSE;
    loop {
        let refusal = match attempt(address) {
            Ok(socket) => return Ok(socket),
            Err(refusal) => refusal,
        };
        let may_change = match &refusal {
            ErrorKind::QueueFull { .. } => true,
            ErrorKind::NoSuchFile | ErrorKind::NobodyListens => waits,
            _ => false,
        };
        if !may_change || Instant::now() >= deadline {
            return Err(match refusal {
                ErrorKind::QueueFull { .. } => ErrorKind::QueueFull { tried: started.elapsed() },
                refusal => refusal,
            });
        }
        // Clients that were turned away together must not come back together.
        let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        sleep_until((Instant::now() + jittered).min(deadline)).await;
        pause = (pause * 2).min(longest);
    }
}

fn attempt(address: &Address) -> Result<Socket, ErrorKind> {
    let other = |error: Errno| ErrorKind::Connect { source: Arc::new(error.into()) };
    // Non-blocking: a blocking connect would wait for room in the accept queue without any limit.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(other)?;
    let socket = Unregistered::new(socket);
    let name = address.to_kernel().map_err(other)?;
    match rustix::io::retry_on_intr(|| connect(socket.fd()?, &name)) {
        Ok(()) => {
            socket.registered().map_err(|source| ErrorKind::Connect { source: Arc::new(source) })
        }
        Err(Errno::AGAIN) => Err(ErrorKind::QueueFull { tried: Duration::ZERO }),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(ErrorKind::NoSuchFile),
        Err(Errno::ACCESS | Errno::PERM) => Err(ErrorKind::PermissionDenied),
        Err(Errno::PROTOTYPE) => Err(ErrorKind::NotAStreamSocket),
        // The kernel says the same of a socket without a server and of any other file.
        Err(Errno::CONNREFUSED) if address.is_other_file() => Err(ErrorKind::NotASocket),
        Err(Errno::CONNREFUSED) if address.is_deleted_file() => Err(ErrorKind::DeletedFile),
        Err(Errno::CONNREFUSED) => Err(ErrorKind::NobodyListens),
        Err(error) => Err(other(error)),
    }
}
