//! One exchange before all others, that is not counted: is a server there, and which process is it?

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::driver::{BUFFER, PAUSE, timespec};
use super::exchange::{Exchange, Script, Step};
use super::server::Server;
use super::target::Target;

/// Nothing here depends on how it ends, so a server that never closes is not waited for long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which process serves there, or why that cannot be told.
///
/// It asks in earnest, as there are servers that take a client badly that leaves without a word.
pub(super) fn ask(script: &Script, timeout: Duration) -> Result<Result<Server, String>, Errno> {
    let began = Instant::now();
    let mut exchange = connect(script, began, began + timeout)?;
    let server = match script.target {
        Target::Unix { .. } => Server::behind(&exchange),
        Target::Tcp(_) => Err("of a port it is told by --pid alone".to_owned()),
    };
    let mut buffer = vec![0; BUFFER];
    let deadline = began + timeout.min(PATIENCE);
    loop {
        // A connection that is not there yet becomes writable when it is, or has failed.
        let awaited = if exchange.has_sent() { PollFlags::IN } else { PollFlags::OUT };
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(&exchange, awaited)], Some(&timespec(left))) {
            Ok(0) => return Ok(server),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        match exchange.go_on(script, &mut buffer) {
            // There are replies that never end.
            Step::Waits if left.is_zero() => return Ok(server),
            Step::Waits => {}
            Step::Done(_) => return Ok(server),
            Step::ConnectFailed(error) => return Err(error),
        }
    }
}

fn connect(script: &Script, since: Instant, deadline: Instant) -> Result<Exchange, Errno> {
    loop {
        match Exchange::connect(script, since, deadline) {
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
}
