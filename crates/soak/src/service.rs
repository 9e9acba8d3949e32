//! The service under test that echoes: it shows a reply that got lost, mixed up or cut.

use std::path::Path;
use std::time::Duration;

use unhang::{Bind, Error, Fault, Limits, Request, Server, Until, termination};

/// The deadlines of both servers. Shorter than the defaults, so that many pass in a short time, and
/// long enough for a busy machine: a good client that met one would count as lost.
pub(crate) const READ: Duration = Duration::from_secs(3);
pub(crate) const HANDLER: Duration = Duration::from_secs(4);
pub(crate) const WRITE: Duration = Duration::from_secs(3);
pub(crate) const LINGER: Duration = Duration::from_secs(2);
pub(crate) const DRAIN: Duration = Duration::from_secs(8);
pub(crate) const QUEUE: Duration = Duration::from_secs(2);

/// More than clients ever block at once: a client that waits for a blocked thread is late by no fault
/// of the library.
const THREADS: usize = 64;

/// Serves until it is told to stop; says when it listens, as `unhang serve` does.
pub(crate) fn run(path: &Path, replace: bool) -> Result<(), String> {
    // A panic that a client asked for is part of the test, and not news.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref() != Some(&AS_ASKED) {
            told(panic);
        }
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(serve(path, replace)).map_err(|error| error.to_string())?;
    // As `Server::run` does.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

async fn serve(path: &Path, replace: bool) -> Result<(), Error> {
    let stop = termination();
    let listener = Bind::new(path).replace(replace).listen()?;
    println!("listening");
    let mut limits = Limits::default();
    limits.read = READ;
    limits.handler = HANDLER;
    limits.write = WRITE;
    limits.linger = LINGER;
    limits.drain = DRAIN;
    limits.queue = QUEUE;
    Server::new(listener).limits(limits).until(Until::Newline).stop_when(stop).serve(answer).await
}

/// `<verb> <number> <anything>`.
async fn answer(request: Request) -> Result<Vec<u8>, Fault> {
    let bytes = request.bytes();
    let mut words = bytes.splitn(3, |&byte| byte == b' ' || byte == b'\n');
    let verb = words.next().unwrap_or_default();
    let number = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    let Some(number) = number else { return Err(Fault::new(UNKNOWN)) };
    match verb {
        b"echo" => Ok([b"reply to ", bytes].concat()),
        b"sleep" => {
            tokio::time::sleep(Duration::from_millis(number)).await;
            Ok([b"reply to ", bytes].concat())
        }
        b"block" => {
            std::thread::sleep(Duration::from_millis(number));
            Ok([b"reply to ", bytes].concat())
        }
        b"big" => Ok(big(number)),
        b"err" => Err(Fault::new(format!("as asked: {number}"))),
        #[allow(clippy::panic, reason = "what the client asked for")]
        b"panic" => std::panic::panic_any(AS_ASKED),
        b"never" => std::future::pending().await,
        _ => Err(Fault::new(UNKNOWN)),
    }
}

/// What a handler panics with if a client asks for it.
const AS_ASKED: &str = "as asked";

/// What is said to a request that is none.
pub(crate) const UNKNOWN: &str = "no such request";

/// How long a big reply is: more than the kernel holds for a client that does not read.
pub(crate) const BIG: usize = 4 << 20;

/// A reply that differs from place to place, and from one number to another.
pub(crate) fn big(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; BIG];
    fastrand::Rng::with_seed(number).fill(&mut bytes);
    bytes
}
