//! Answers at the control socket: who wants to serve instead of this server, and who only wants to
//! know whom it waits for.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::accept::Service;
use crate::connection::Rules;
use crate::drain::Stop;
use crate::event::Event;
use crate::handler::Handler;
use crate::handover::{self, Control, Question};
use crate::limits::ACCEPT_PAUSE;
use crate::listener::Listener;
use crate::peer;
use crate::shards::Shards;
use crate::wire::oneshot::Until;

/// Gives the socket to a successor that asks for it, and begins the drain when that one serves.
pub(crate) async fn wait<H: Handler>(
    listener: Arc<Listener>,
    stop: Arc<Stop>,
    service: Arc<Service<H>>,
    shards: Arc<Shards>,
) {
    let Some(Ok(control)) = listener.control().map(Control::listener) else { return };
    loop {
        let Ok((stream, _)) = control.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(stream) = stream.into_std() else { continue };
        let by = peer::of(stream.as_fd());
        let listener = Arc::clone(&listener);
        let (asked, blocked) = (Arc::clone(&service), Arc::clone(&shards));
        let answered = spawn_blocking(move || answer(&listener, &asked, &blocked, &stream)).await;
        match answered.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(Question::InFlight) => {}
            Ok(Question::Replace) => {
                service.tell(&Event::Replaced { by });
                stop.begin(service.rules.limits.drain);
                return;
            }
            Err(error) => service.tell(&Event::NotReplaced { by, error: &error }),
        }
    }
}

/// Gives what was asked for, and answered.
fn answer<H: Handler>(
    listener: &Listener,
    service: &Service<H>,
    shards: &Shards,
    stream: &UnixStream,
) -> io::Result<Question> {
    let question = handover::question(stream)?;
    match question {
        Question::Replace => listener.give_to(stream)?,
        Question::InFlight => {
            let Rules { until, limits, in_flight, .. } = &*service.rules;
            let until = match until {
                Until::Dry => "dry",
                Until::Newline => "newline",
                Until::HalfClose => "half-close",
            };
            let (waits, idle) = (in_flight.lines(), shards.idle.lines(limits.read));
            let thinking = service.thinking.lines(limits.handler);
            let blocked = shards.blocked(limits.handler);
            let answer = format!("until {until}\n{waits}{idle}{thinking}{blocked}");
            handover::tell(stream, &answer);
        }
    }
    Ok(question)
}
