//! `unhang call nats://…`: one message to a service on another machine, without a door beside it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use unhang::{Cause, Fault, Reply, Request};
use unhang_nats::{Address, CannotStart, Door, Notice, Outcome};

use super::{Call, Outcome as Told};
use crate::cmd::block_on;
use crate::exit;

impl Call {
    /// Asks the service, and tells it as a call of a socket is told.
    pub(super) fn ask_service(
        &self,
        address: &Address,
        message: Vec<u8>,
        deadline: Instant,
    ) -> Told {
        let failed = |code, complaint: String| Told {
            reply: Vec::new(),
            complaint: Some(format!("unhang call: {complaint}\n")),
            code,
        };
        let heard = Arc::new(Mutex::new(Heard::default()));
        let asked = block_on(self.ask(address.clone(), message, deadline, Arc::clone(&heard)));
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = match asked {
            Err(error) => {
                return failed(exit::FAILED, format!("cannot start the event loop: {error}"));
            }
            Ok(Err(error)) => return failed(exit::USAGE, error.to_string()),
            Ok(Ok(Ok(reply))) => {
                let reply = reply.whole().unwrap_or_default().to_vec();
                return Told { reply, complaint: None, code: exit::DONE };
            }
            Ok(Ok(Err(fault))) => fault,
        };
        let reason = Cause::HandlerFailed(fault).to_string();
        match &heard.outcome {
            // The service's own word is an answer like any other.
            Some(Outcome::Failed(_)) => {
                Told { reply: format!("ERR {reason}\n").into(), complaint: None, code: exit::DONE }
            }
            Some(Outcome::NotConnected) => {
                // The door may have said it before it knew why.
                let more = heard.why.as_ref().filter(|why| !reason.contains(&***why));
                let reason = more.map_or(reason.clone(), |why| format!("{reason} ({why})"));
                failed(exit::NOT_CONNECTED, reason)
            }
            Some(Outcome::Deadline | Outcome::NotAccepted | Outcome::Silent) => {
                failed(exit::NO_ANSWER, reason)
            }
            _ => failed(exit::FAILED, reason),
        }
    }

    async fn ask(
        &self,
        address: Address,
        message: Vec<u8>,
        deadline: Instant,
        heard: Arc<Mutex<Heard>>,
    ) -> Result<Result<Reply, Fault>, CannotStart> {
        let listener = move |notice| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            match notice {
                Notice::Called { outcome, .. } => heard.outcome = Some(outcome),
                Notice::NotConnected { why, .. } => heard.why = Some(why),
                _ => {}
            }
        };
        let door = Door::to(address).access(self.nats.access()).notices(listener).connect().await?;
        let left = || deadline.saturating_duration_since(Instant::now());
        // One that has just begun to connect is not down yet.
        door.ready(if self.wait { left() } else { left().min(CONNECT) }).await;
        let uid = rustix::process::geteuid().as_raw();
        let peer = unhang::Peer { pid: std::process::id(), uid, gid: 0 };
        Ok(door.ask(Request::new(message, Some(peer)), left()).await)
    }
}

/// Long enough for all nodes to be tried once, TLS with them.
const CONNECT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Heard {
    outcome: Option<Outcome>,
    /// Why a connection could not be made.
    why: Option<String>,
}
