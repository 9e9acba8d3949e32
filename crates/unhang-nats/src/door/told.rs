//! What a client is told of a call that has no answer.

use std::time::Duration;

use unhang::Fault;

use super::shared::Shared;
use crate::call::Outcome;

impl Shared {
    /// What the client is told, unless it has its answer.
    pub(super) fn fault(
        &self,
        outcome: &Outcome,
        payload: &[u8],
        worker: Option<&str>,
        took: Duration,
    ) -> Option<Fault> {
        let who = worker.unwrap_or("unknown");
        let subject = &self.subject;
        let (told, code) = match outcome {
            Outcome::Answered => return None,
            Outcome::Failed(code) => {
                let reason = String::from_utf8_lossy(payload).into_owned();
                (reason, known_code(code))
            }
            Outcome::NotConnected => (
                format!("not connected to NATS ({}): {}; the request did not run", self.address, self.why()),
                "backend_absent",
            ),
            Outcome::TooLarge => (
                format!(
                    "the request is larger than NATS takes ({} bytes, with headers); it did not run. Raise \
                     max_payload of nats-server, to 8 MiB at most, or lower --max-request",
                    self.max_payload()
                ),
                "backend_request_too_large",
            ),
            Outcome::NoWorker => {
                (format!("no worker for {subject}; the request did not run"), "backend_absent")
            }
            Outcome::Busy => (
                "busy: the places of all workers that were asked are taken; the request did not run".into(),
                "busy_backend",
            ),
            Outcome::Late => (
                format!(
                    "too late for every worker that was asked ({who} last): the clocks of both machines \
                     differ, or the worker is overloaded; the request did not run"
                ),
                "busy_backend",
            ),
            Outcome::Stopping => (
                "the workers that were asked are stopping; the request did not run".into(),
                "stopping",
            ),
            Outcome::NotOffered => (
                "no worker said that it is free to take the request; it did not run".into(),
                "backend_absent",
            ),
            Outcome::NotAccepted => (
                format!(
                    "no worker said within {:?} that it has the request; it may have run",
                    self.times.accept
                ),
                "backend_lost",
            ),
            Outcome::Lost => (
                format!("the worker {who} was lost after it accepted the request; it may have run"),
                "backend_lost",
            ),
            Outcome::Silent => (
                format!("the worker {who} accepted the request and is stopped or cut off; it may have run"),
                "backend_lost",
            ),
            Outcome::ConnectionLost => (
                "the connection to NATS was lost after the request was sent; it may have run".into(),
                "backend_lost",
            ),
            Outcome::Deadline => (
                format!("the worker {who} took longer than {took:.1?}; it may run on"),
                "backend_late",
            ),
        };
        Some(fault(outcome, code, told).with_code(code))
    }
}

/// With what HTTP says of it: 503 if it did not run and may be tried again soon, 504 if it took too long, 413 if it
/// is too large.
fn fault(outcome: &Outcome, code: &str, told: String) -> Fault {
    match outcome {
        Outcome::TooLarge => Fault::too_large(told),
        Outcome::NotConnected
        | Outcome::NoWorker
        | Outcome::Busy
        | Outcome::Late
        | Outcome::Stopping
        | Outcome::NotOffered => Fault::busy(told),
        Outcome::Deadline => Fault::late(told),
        Outcome::Failed(_) => match code {
            "backend_absent" | "busy_backend" => Fault::busy(told),
            "backend_late" => Fault::late(told),
            _ => Fault::new(told),
        },
        _ => Fault::new(told),
    }
}

/// The words that a service has for what went wrong behind it. A word that a worker makes up does not get
/// into counters.
fn known_code(code: &str) -> &'static str {
    const KNOWN: [&str; 9] = [
        "backend_absent",
        "backend_ended",
        "backend_killed",
        "backend_late",
        "backend_reply_too_large",
        "busy_backend",
        "handler_failed",
        "handler_panicked",
        "stopping",
    ];
    KNOWN.into_iter().find(|known| *known == code).unwrap_or("handler_failed")
}
