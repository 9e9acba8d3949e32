//! `unhang serve nats://…`: a service on other machines' behalf.

mod look;

use std::sync::Arc;
use std::time::Duration;

use unhang::termination;
use unhang_nats::{Address, Server};

use super::backend::{Backend, MARGIN, Notices};
use super::log::Log;
use super::metrics::Metrics;
use super::metrics::endpoint::Endpoint;
use super::{Serve, misused, stop, systemd};
use crate::exit;
use crate::stdio::complain;

/// Serves a subject in the place of a socket.
pub(super) async fn serve(serve: Serve, address: Address) -> Result<(), u8> {
    // First of all: a process that sees the service may end it in good order.
    let stopped = termination();
    super::signals::catch();
    let limits = serve.bounds.limits().map_err(misused)?;
    check(&serve)?;
    let notices = Notices::default();
    let backend = serve.answers.backend(&limits, None, &serve.nats, &notices).await?;
    if matches!(backend, Backend::Nats(_)) {
        return Err(misused(
            "got nats:// on both sides: expected a program, or a server with --to PATH",
        ));
    }
    let endpoint = match &serve.metrics {
        Some(place) => Some(Endpoint::listen(place, false).await.map_err(|error| {
            complain("serve", error);
            exit::FAILED
        })?),
        None => None,
    };
    let notify = Arc::new(systemd::Notify::from_env());
    let log = Arc::new(Log::of_service(serve.log, serve.quiet));
    notices.go_to(&log);
    let counting = Arc::clone(&log);
    tokio::spawn(async move { counting.count_lines().await });
    let mut server = Server::new(address.clone())
        .access(serve.nats.access.access())
        .deadline(limits.handler + limits.queue + MARGIN)
        .drain(limits.drain)
        .notices(notices.nats_listener())
        .tell_of_waits(look::at);
    if let Some(places) = serve.nats.places {
        server = server.places(places);
    }
    let running = server.counts();
    let counted = endpoint.map(|endpoint| {
        let mut metrics = Metrics::of_service();
        backend.tell_in(&mut metrics, &notices);
        metrics.tell_of_calls(notices.nats_counts(), move || running.running());
        let served = endpoint.serve(Arc::new(metrics));
        tokio::spawn(async { complain("serve", served.await) })
    });
    let serves = {
        let (log, notify, worker) =
            (Arc::clone(&log), Arc::clone(&notify), server.name().to_owned());
        move || {
            log.serving(&address, &worker);
            notify.ready();
            tokio::spawn(async move { notify.keep_watchdog_content_by(alive()).await });
        }
    };
    let result = server.stop_when(stop(stopped, serves)).serve(backend.clone()).await;
    backend.end().await;
    if let Some(scraped) = counted {
        scraped.abort();
    }
    log.stopped();
    result.map_err(|error| {
        complain("serve", error);
        exit::USAGE
    })
}

/// The runtime's own pulse: a task that it does not get to does not count.
fn alive() -> impl Fn() -> usize {
    let beats = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&beats);
    tokio::spawn(async move {
        loop {
            beats.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    move || counted.load(std::sync::atomic::Ordering::Relaxed)
}

/// What only a socket has.
fn check(serve: &Serve) -> Result<(), u8> {
    let given = [
        (serve.replace, "--replace"),
        (serve.threads.is_some(), "--threads"),
        (serve.file.backlog.is_some(), "--backlog"),
        (!serve.allowed.allow_uid.is_empty(), "--allow-uid"),
        (!serve.allowed.allow_gid.is_empty(), "--allow-gid"),
    ];
    let flag = given.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag);
    match flag.or(serve.file.given()).or(serve.spoken.given()) {
        Some(flag) => Err(misused(format_args!(
            "got {flag} for a service behind NATS, which has no socket: give it to the door"
        ))),
        None => Ok(()),
    }
}
