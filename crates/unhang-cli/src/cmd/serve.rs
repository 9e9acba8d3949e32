//! `unhang serve`: a service behind a socket, that answers with the time.

mod flags;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use unhang::{Address, Error, ErrorKind, Fault, Request, Server, termination};

use super::{block_on, complain};
use crate::exit;
use crate::log::{Form, Log};
use crate::units::Mode;
use flags::{Allowed, Bounds, Ends, File};

/// Serve a socket: every message is answered with the time
#[derive(Args, Debug)]
#[command(after_help = SIGNALS)]
pub(crate) struct Serve {
    /// The socket: a path, or @name for an abstract one
    path: PathBuf,

    /// Where a request ends, besides at a half-close: when the receive queue is dry, at a newline,
    /// or nowhere else
    #[arg(long, value_name = "WHERE", value_enum, default_value_t)]
    until: Ends,

    /// Print only start, stop and faults
    #[arg(long, short)]
    quiet: bool,
    /// What is printed: lines for people, or a JSON object per line
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    log: Form,

    #[command(flatten)]
    file: File,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    bounds: Bounds,
}

const SIGNALS: &str = "\
SIGTERM and Ctrl-C: nobody is let in any more, whoever is in is answered, the socket is removed.
A second one ends at once.";

impl Serve {
    pub(crate) fn run(self) -> ExitCode {
        match block_on(self.serve()) {
            Ok(Ok(())) => exit::DONE.into(),
            Ok(Err(error)) => {
                complain("serve", &error);
                match error.kind() {
                    ErrorKind::BadAddress { .. } => exit::USAGE.into(),
                    _ => exit::FAILED.into(),
                }
            }
            Err(error) => {
                complain("serve", format_args!("cannot start the event loop: {error}"));
                exit::FAILED.into()
            }
        }
    }

    async fn serve(self) -> Result<(), Error> {
        // First of all: whoever sees the socket may end the server in good order.
        let stop = stop();
        let listener = self.file.bind(&self.path).listen()?;

        let log = Arc::new(Log::start(self.log, self.quiet));
        log.listening(listener.address(), self.mode_of(listener.address()));
        let watching = Arc::clone(&log);
        let served = Server::new(listener)
            .until(self.until.into())
            .limits(self.bounds.limits())
            .allow(self.allowed.allow_uid, self.allowed.allow_gid)
            .observe(move |event| watching.event(event))
            .stop_when(stop)
            .serve(clock)
            .await;
        log.stopped();
        served
    }

    /// An abstract name has no mode.
    fn mode_of(&self, address: &Address) -> Option<Mode> {
        address.path().map(|_| self.file.mode)
    }
}

/// Done at the first signal; the second ends the process, whatever is under way.
fn stop() -> impl Future<Output = ()> + Send {
    let first = termination();
    async {
        first.await;
        tokio::spawn(async {
            termination().await;
            std::process::exit(exit::FAILED.into());
        });
    }
}

async fn clock(_: Request) -> Result<String, Fault> {
    Ok(format!("OK+ at {}\n", jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S.%9f%:z")))
}
