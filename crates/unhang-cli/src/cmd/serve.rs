//! `unhang serve`: a service behind a socket. What answers is a program, another server, or the time.

mod backend;
mod clock;
#[cfg(feature = "nats")]
mod door;
mod flags;
mod log;
mod metrics;
mod namespace;
#[cfg(feature = "nats")]
mod nats;
mod rest;
mod signals;
mod spoken;
mod systemd;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::oneshot;
use tokio::time::timeout;
use unhang::{Bind, Error, ErrorKind, Event, Listener, Server, termination};

#[cfg(not(feature = "nats"))]
use super::nats::Access as Nats;
use super::{block_on, complain};
use crate::exit;
use crate::shell::quoted;
use crate::units;
use backend::{Answers, Notices};
#[cfg(feature = "nats")]
use door::Flags as Nats;
use flags::{Allowed, Bounds, File};
use log::{Form, Log};
use metrics::Metrics;
use metrics::accept_queue::AcceptQueue;
use metrics::endpoint::{self, Endpoint};
use spoken::Spoken;
use systemd::Inherited;

/// Serve a socket: a program of yours answers every message, or the time does
#[derive(Args, Debug)]
#[command(after_help = SIGNALS)]
pub(crate) struct Serve {
    /// The socket: a path, or @name for an abstract one; left out if systemd passes one. Or a service for
    /// other machines, as `nats://NODE,NODE/SERVICE`
    path: Option<PathBuf>,

    /// Take the socket over from the server that runs there, which then finishes what it has under
    /// way: the way to upgrade
    #[arg(long)]
    replace: bool,

    /// Threads that accept and answer [default: one per processor]
    #[arg(long, value_name = "N", value_parser = units::count_or_none(THREADS))]
    threads: Option<usize>,

    /// Print only start, stop and faults
    #[arg(long, short)]
    quiet: bool,
    /// What is printed: lines for people, or a JSON object per line
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    log: Form,

    /// Where counters can be read by HTTP, at /metrics: 127.0.0.1:9090, or a socket's path
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<endpoint::Address>,

    #[command(flatten)]
    answers: Answers,
    #[command(flatten)]
    nats: Nats,
    #[command(flatten)]
    spoken: Spoken,
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    bounds: Bounds,
}

/// More than any machine has processors.
const THREADS: usize = 1 << 16;

/// How long a signal that comes before there is a socket waits for one: making it takes microseconds.
const MOMENT: Duration = Duration::from_millis(100);

const SIGNALS: &str = "\
SIGTERM, Ctrl-C and SIGHUP: nobody is let in any more, whoever is in is answered, the socket is
removed. A second SIGTERM or Ctrl-C ends at once.";

impl Serve {
    pub(crate) fn run(self) -> ExitCode {
        let served = match &self.path {
            Some(path) if crate::cmd::nats::is_meant(path.as_os_str()) => self.serve_nats(),
            _ => block_on(self.serve()),
        };
        match served {
            Ok(Ok(())) => exit::DONE.into(),
            Ok(Err(code)) => code.into(),
            Err(error) => {
                complain("serve", format_args!("cannot start the event loop: {error}"));
                exit::FAILED.into()
            }
        }
    }

    #[cfg(feature = "nats")]
    fn serve_nats(self) -> std::io::Result<Result<(), u8>> {
        let text = self.path.as_deref().unwrap_or(Path::new("")).as_os_str();
        match crate::cmd::nats::address(text) {
            Ok(address) => super::block_on_threads(nats::serve(self, address)),
            Err(error) => Ok(Err(misused(error))),
        }
    }

    #[cfg(not(feature = "nats"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "it is as the one with NATS")]
    fn serve_nats(self) -> std::io::Result<Result<(), u8>> {
        Ok(Err(misused(crate::cmd::nats::MISSING)))
    }

    async fn serve(self) -> Result<(), u8> {
        // First of all: a process that sees the socket may end the server in good order.
        let (stopped, early) = (termination(), termination());
        signals::catch();
        let mut limits = self.bounds.limits().map_err(misused)?;
        self.spoken.check().map_err(misused)?;
        self.spoken.limit(&mut limits);
        self.check_places()?;
        self.allowed.check().map_err(misused)?;
        if let Some(weakness) = self.bounds.weakness() {
            complain("serve", weakness);
        }
        // Before there is a socket: what cannot answer must let nobody in, nor replace what can.
        let notices = Notices::default();
        let backend =
            self.answers.backend(&limits, self.path.as_deref(), &self.nats, &notices).await?;
        self.answers.stretch(&mut limits);
        let endpoint = match &self.metrics {
            Some(place) => Some(Endpoint::listen(place, self.replace).await.map_err(|error| {
                complain("serve", error);
                exit::FAILED
            })?),
            None => None,
        };
        let Some(listener) = self.listener(early).await? else { return Ok(()) };
        if let Some(waits) = endpoint.as_ref().and_then(Endpoint::waits) {
            complain("serve", waits);
        }
        if let Some(reached) = endpoint.as_ref().and_then(Endpoint::reached_by) {
            complain("serve", reached);
        }
        let notify = Arc::new(systemd::Notify::from_env());
        let log = Arc::new(Log::start(self.log, self.quiet, listener.address()));
        notices.go_to(&log);
        let counting = Arc::clone(&log);
        tokio::spawn(async move { counting.count_lines().await });
        let address = listener.address().clone();
        let queue = endpoint.as_ref().and_then(|_| AcceptQueue::of(&listener));
        let mut server = self.spoken.speak(Server::new(listener)).limits(limits.clone());
        let gauges = server.gauges();
        let serves = {
            let (log, address) = (Arc::clone(&log), address.clone());
            let notify = Arc::clone(&notify);
            // The file's own: one that was passed or taken over need not have what we would give it.
            let file = address.path().and_then(|path| path.symlink_metadata().ok());
            let mode = file.as_ref().map(flags::mode_of);
            move || {
                log.listening(&address, mode);
                notify.ready();
                tokio::spawn(async move { notify.keep_watchdog_content(&gauges).await });
            }
        };
        server = server.stop_when(stop(stopped, serves));
        #[cfg(feature = "nats")]
        {
            server = backend.tell_of_calls(server);
        }
        if let Some((uids, gids)) = self.allowed.lists() {
            server = server.allow(uids, gids);
        }
        if !self.quiet {
            server = server.name_peers();
        }
        if let Some(threads) = self.threads {
            server = server.threads(threads);
        }
        // Counted only if somebody can ask.
        let counted = endpoint.map(|endpoint| {
            let mut metrics = Metrics::new(&limits, server.gauges(), queue);
            backend.tell_in(&mut metrics, &notices);
            let metrics = Arc::new(metrics);
            let served = endpoint.serve(Arc::clone(&metrics));
            (metrics, tokio::spawn(async { complain("serve", served.await) }))
        });
        let metrics = counted.as_ref().map(|(metrics, _)| Arc::clone(metrics));
        let watching = Arc::clone(&log);
        let result = server
            .observe_some(
                // Neither waits for anybody, and on the way to another thread each event would cost more.
                move |event| {
                    if let Some(metrics) = &metrics {
                        metrics.count(event);
                    }
                    watching.event(event);
                    matches!(event, Event::Draining { .. })
                },
                move |_| notify.stopping(),
            )
            .serve(backend.clone())
            .await;
        backend.end().await;
        if let Some((_, scraped)) = counted {
            scraped.abort();
        }
        log.stopped();
        result.map_err(|error| failed(&error))
    }

    /// Two sockets cannot have one name, and an abstract one has no file.
    fn check_places(&self) -> Result<(), u8> {
        let Some(path) = &self.path else { return Ok(()) };
        if let Some(place) = self.metrics.as_ref().filter(|place| place.is(path)) {
            return Err(misused(format_args!(
                "--metrics {place} is the socket itself: expected another path, or an address as \
                 127.0.0.1:9090"
            )));
        }
        match self.file.given() {
            Some(flag) if path.as_os_str().as_encoded_bytes().starts_with(b"@") => {
                Err(misused(format_args!(
                    "got {flag} for an abstract name, which has no file and is open to everybody: \
                     serve a path, or let in only some with --allow-uid and --allow-gid"
                )))
            }
            _ => Ok(()),
        }
    }

    /// None if a signal came while it waited for the server that it is to replace.
    async fn listener(&self, early: impl Future<Output = ()>) -> Result<Option<Listener>, u8> {
        let inherited = systemd::inherited().map_err(|error| {
            complain("serve", format_args!("cannot use the socket that was passed: {error}"));
            exit::FAILED
        })?;
        let inherited = match inherited {
            Inherited::Nothing => None,
            Inherited::Socket(socket) => Some(socket),
            Inherited::ToAnother(pid) => {
                let us = std::process::id();
                let what = format_args!(
                    "a socket was passed to process {pid}, and this is process {us}: if a script \
                     between systemd and this starts it, let it do so with exec"
                );
                if self.path.is_none() {
                    return Err(misused(what));
                }
                complain("serve", what);
                None
            }
        };
        let listener = match (&self.path, inherited) {
            (Some(path), None) if self.replace => {
                let listener = take_over(self.file.bind(path).replace(true), early).await?;
                if listener.is_some() {
                    self.say_what_was_missed(path);
                }
                return Ok(listener);
            }
            (Some(path), None) => self.file.bind(path).listen(),
            (None, Some(socket)) => match (self.file.given(), self.file.backlog) {
                (Some(flag), _) => {
                    return Err(misused(format_args!(
                        "got {flag} for a socket passed by systemd, whose file is not ours: set \
                         SocketMode=, SocketUser= and SocketGroup= in its unit instead"
                    )));
                }
                (None, Some(_)) => {
                    return Err(misused(
                        "got --backlog for a socket passed by systemd, which listens already: set \
                         Backlog= in its unit instead",
                    ));
                }
                (None, None) => Listener::inherited(socket),
            },
            (None, None) => {
                let what = "expected a PATH, or a socket passed by systemd; got neither";
                return Err(misused(what));
            }
            (Some(path), Some(_)) => {
                let path = quoted(&path.to_string_lossy());
                let what =
                    "and a socket passed by systemd, expected one of them: leave out the path";
                return Err(misused(format_args!("got the path {path} {what}")));
            }
        };
        listener.map(Some).map_err(|error| failed(&error))
    }

    /// A file that is taken over stays as it is, also if the successor then fails.
    fn say_what_was_missed(&self, path: &Path) {
        let file = path.symlink_metadata().ok();
        if let Some(missed) = file.and_then(|file| self.file.missed(&file)) {
            let what = "the socket is taken over as it is, and not with";
            complain("serve", format_args!("{what} {missed}. Change that with chmod or chown."));
        }
    }
}

/// On a thread of its own, as the other server may keep it waiting, and a signal is to be heard.
async fn take_over(bind: Bind, early: impl Future<Output = ()>) -> Result<Option<Listener>, u8> {
    let (done, mut listening) = oneshot::channel();
    let thread = std::thread::Builder::new().spawn(move || drop(done.send(bind.listen())));
    if let Err(error) = thread {
        complain("serve", format_args!("cannot start a thread: {error}"));
        return Err(exit::FAILED);
    }
    let listener = tokio::select! {
        listener = &mut listening => Some(listener),
        // With nobody to replace, the socket may be there this moment: then it is removed in good order.
        () = early => timeout(MOMENT, listening).await.ok(),
    };
    match listener {
        Some(Ok(Ok(listener))) => Ok(Some(listener)),
        Some(Ok(Err(error))) => Err(failed(&error)),
        Some(Err(_)) => Err(exit::FAILED),
        None => Ok(None),
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

/// Says that the arguments make no sense; gives the exit code for it.
fn misused(what: impl std::fmt::Display) -> u8 {
    complain("serve", what);
    exit::USAGE
}

/// Done at the first signal; the second ends the process, whatever is under way.
async fn stop(first: impl Future<Output = ()> + Send, serves: impl FnOnce() + Send) {
    // Whether it is to stop is asked once all is there that it takes to serve, and not before: so
    // nobody is told of a server that then fails.
    serves();
    first.await;
    tokio::spawn(async {
        termination().await;
        unhang::backend::kill_all();
        std::process::exit(exit::FAILED.into());
    });
}
