//! `unhang serve`: a service behind a socket, that answers with the time.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use unhang::{
    Address, Bind, Error, ErrorKind, Fault, Limits, Request, Server, Until, limits, termination,
};

use super::{block_on, complain};
use crate::exit;
use crate::log::{Form, Log};
use crate::units::{self, Mode, Size, Span};

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
    bounds: Bounds,
}

const SIGNALS: &str = "\
SIGTERM and Ctrl-C: nobody is let in any more, whoever is in is answered, the socket is removed.
A second one ends at once.";

#[derive(Args, Debug)]
#[command(next_help_heading = "Socket file")]
struct File {
    /// Its permissions: to connect takes write permission
    #[arg(long, value_name = "OCTAL", default_value_t = Mode(limits::MODE))]
    mode: Mode,
    /// Its owner, by name or number
    #[arg(long, value_name = "USER", value_parser = units::user)]
    owner: Option<u32>,
    /// Its group, by name or number
    #[arg(long, value_name = "GROUP", value_parser = units::group)]
    group: Option<u32>,
    /// Length of the accept queue; the kernel caps it at net.core.somaxconn
    #[arg(long, value_name = "N", default_value_t = limits::BACKLOG, value_parser = clap::value_parser!(i32).range(1..))]
    backlog: i32,
}

#[derive(Args, Debug)]
#[command(
    next_help_heading = "Deadlines and limits (durations as 5ms, 10s, 2m; sizes as 64KiB, 1MiB)"
)]
struct Bounds {
    /// From the accept until the request is whole
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, default_value_t = Span(Limits::default().read))]
    read_deadline: Span,
    /// For the handler
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, default_value_t = Span(Limits::default().handler))]
    handler_deadline: Span,
    /// For the client to take the whole reply
    #[arg(long, value_name = "DURATION", value_parser = units::deadline, default_value_t = Span(Limits::default().write))]
    write_deadline: Span,
    /// For discarding what a client still sends after its answer
    #[arg(long, value_name = "DURATION", default_value_t = Span(Limits::default().linger))]
    linger: Span,
    /// For what is under way when the server is stopped
    #[arg(long, value_name = "DURATION", default_value_t = Span(Limits::default().drain))]
    drain_deadline: Span,
    /// With --until dry: the pause after which a request of more than 32 KiB is whole
    #[arg(long, value_name = "DURATION", default_value_t = Span(Limits::default().settle))]
    settle: Span,
    /// The longest request
    #[arg(long, value_name = "SIZE", default_value_t = Size(Limits::default().max_request))]
    max_request: Size,
    /// Connections served at once; more wait in the accept queue
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_connections, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    max_connections: usize,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Ends {
    #[default]
    Dry,
    Newline,
    HalfClose,
}

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
        let mut socket = Bind::new(&self.path).mode(self.file.mode.0).backlog(self.file.backlog);
        if let Some(uid) = self.file.owner {
            socket = socket.owner(uid);
        }
        if let Some(gid) = self.file.group {
            socket = socket.group(gid);
        }
        // First of all: whoever sees the socket may end the server in good order.
        let stop = stop();
        let listener = socket.listen()?;

        let log = Arc::new(Log::start(self.log, self.quiet));
        log.listening(listener.address(), self.mode_of(listener.address()));
        let watching = Arc::clone(&log);
        let served = Server::new(listener)
            .until(self.until.into())
            .limits(self.bounds.limits())
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

impl Bounds {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.read = self.read_deadline.0;
        limits.handler = self.handler_deadline.0;
        limits.write = self.write_deadline.0;
        limits.linger = self.linger.0;
        limits.drain = self.drain_deadline.0;
        limits.settle = self.settle.0;
        limits.max_request = self.max_request.0;
        limits.max_connections = self.max_connections;
        limits
    }
}

impl From<Ends> for Until {
    fn from(ends: Ends) -> Self {
        match ends {
            Ends::Dry => Self::Dry,
            Ends::Newline => Self::Newline,
            Ends::HalfClose => Self::HalfClose,
        }
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
