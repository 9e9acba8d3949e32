//! `unhang serve`: a service behind a socket, that answers with the time.

mod flags;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use unhang::{Error, ErrorKind, Event, Fault, Listener, Request, Server, termination};

use super::{block_on, complain};
use crate::clock;
use crate::exit;
use crate::log::{Form, Log};
use crate::metrics::Metrics;
use crate::metrics::accept_queue::AcceptQueue;
use crate::metrics::endpoint::{self, Endpoint};
use crate::systemd;
use flags::{Allowed, Bounds, Ends, File};

/// Serve a socket: every message is answered with the time
#[derive(Args, Debug)]
#[command(after_help = SIGNALS)]
pub(crate) struct Serve {
    /// The socket: a path, or @name for an abstract one; left out where systemd passes one
    path: Option<PathBuf>,

    /// Take the socket over from the server that runs there, which then finishes what it has under
    /// way: the way to upgrade
    #[arg(long)]
    replace: bool,

    /// Where a request ends, besides at a half-close: when the receive queue is dry, at a newline,
    /// or nowhere else
    #[arg(long, value_name = "WHERE", value_enum, default_value_t)]
    until: Ends,

    /// Threads that accept and answer [default: one per processor]
    #[arg(long, value_name = "N")]
    shards: Option<usize>,

    /// Print only start, stop and faults
    #[arg(long, short)]
    quiet: bool,
    /// What is printed: lines for people, or a JSON object per line
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    log: Form,

    /// Where counters can be read by HTTP, at /metrics: 127.0.0.1:9090, or a socket's path
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<endpoint::Place>,

    #[command(flatten)]
    file: File,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    bounds: Bounds,
}

const SIGNALS: &str = "\
SIGTERM, Ctrl-C and SIGHUP: nobody is let in any more, whoever is in is answered, the socket is
removed. A second SIGTERM or Ctrl-C ends at once.";

impl Serve {
    pub(crate) fn run(self) -> ExitCode {
        match block_on(self.serve()) {
            Ok(Ok(())) => exit::DONE.into(),
            Ok(Err(code)) => code.into(),
            Err(error) => {
                complain("serve", format_args!("cannot start the event loop: {error}"));
                exit::FAILED.into()
            }
        }
    }

    async fn serve(self) -> Result<(), u8> {
        // First of all: whoever sees the socket may end the server in good order.
        let stop = stop();
        let endpoint = match &self.metrics {
            Some(place) => Some(Endpoint::listen(place, self.replace).await.map_err(|error| {
                complain("serve", error);
                exit::FAILED
            })?),
            None => None,
        };
        let listener = self.listener()?;
        let mode = listener.address().path().map(|_| self.file.mode);
        let log = Arc::new(Log::start(self.log, self.quiet, listener.address()));
        log.listening(listener.address(), mode);
        systemd::ready();

        let limits = self.bounds.limits();
        let queue = endpoint.as_ref().and_then(|_| AcceptQueue::of(&listener));
        let mut server = Server::new(listener)
            .until(self.until.into())
            .limits(limits.clone())
            .allow(self.allowed.allow_uid, self.allowed.allow_gid)
            .stop_when(stop);
        if !self.quiet {
            server = server.name_peers();
        }
        if let Some(shards) = self.shards {
            server = server.shards(shards);
        }
        // Counted only where somebody can ask.
        let counted = endpoint.map(|endpoint| {
            let metrics = Arc::new(Metrics::new(&limits, server.gauges(), queue));
            let served = endpoint.serve(Arc::clone(&metrics));
            (metrics, tokio::spawn(async { complain("serve", served.await) }))
        });
        let metrics = counted.as_ref().map(|(metrics, _)| Arc::clone(metrics));
        let watching = Arc::clone(&log);
        let result = server
            .observe(move |event| {
                if matches!(event, Event::Draining { .. }) {
                    systemd::stopping();
                }
                if let Some(metrics) = &metrics {
                    metrics.count(event);
                }
                watching.event(event);
            })
            .serve(answer)
            .await;
        if let Some((_, scraped)) = counted {
            scraped.abort();
        }
        log.stopped();
        result.map_err(|error| failed(&error))
    }

    fn listener(&self) -> Result<Listener, u8> {
        let inherited = systemd::inherited().map_err(|error| {
            complain("serve", format_args!("cannot use the socket that was passed: {error}"));
            exit::FAILED
        })?;
        match (&self.path, inherited) {
            (Some(path), None) => {
                self.file.bind(path).replace(self.replace).listen().map_err(|error| failed(&error))
            }
            (None, Some(socket)) => Listener::inherited(socket).map_err(|error| failed(&error)),
            (None, None) => {
                complain("serve", "expected a PATH, or a socket passed by systemd; got neither");
                Err(exit::USAGE)
            }
            (Some(path), Some(_)) => {
                let path = path.display();
                let what =
                    "and a socket passed by systemd, expected one of them: leave out the path";
                complain("serve", format_args!("got the path {path} {what}"));
                Err(exit::USAGE)
            }
        }
    }
}

/// Says what went wrong; gives the exit code for it.
fn failed(error: &Error) -> u8 {
    complain("serve", error);
    match error.kind() {
        ErrorKind::BadAddress { .. } => exit::USAGE,
        _ => exit::FAILED,
    }
}

/// Done at the first signal; the second ends the process, whatever is under way.
fn stop() -> impl Future<Output = ()> + Send {
    let first = termination();
    async {
        // The runtime that this runs on is the one that keeps the deadlines.
        tokio::spawn(systemd::keep_watchdog_content());
        first.await;
        tokio::spawn(async {
            termination().await;
            std::process::exit(exit::FAILED.into());
        });
    }
}

async fn answer(_: Request) -> Result<String, Fault> {
    let mut reply = String::with_capacity(64);
    reply += "OK+ at ";
    clock::write_time(&mut reply);
    reply.push('\n');
    Ok(reply)
}
