//! Answers at the control socket: who wants to serve instead of this server, and who only wants to
//! know whom it waits for.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::event::Event;
use crate::handler::Handler;
use crate::limits::ACCEPT_PAUSE;
use crate::listen::Listener;
use crate::listen::control::{self, Question};
use crate::peer;
use crate::serve::config::Stop;
use crate::serve::connection::Rules;
use crate::serve::door::Service;
use crate::shards::Shards;
use crate::wire::oneshot::Until;

/// Gives the socket to a successor that asks for it, and begins the drain when that one serves.
pub(crate) async fn wait<H: Handler>(
    listener: Arc<Listener>,
    stop: Arc<Stop>,
    service: Arc<Service<H>>,
    shards: Arc<Shards>,
) {
    let Some(control) = listener.control() else { return };
    let control = loop {
        match control.listener() {
            Ok(control) => break control,
            // No descriptor is left for it now. Later there may be, and a server that gave up would
            // have to be stopped to be replaced.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    };
    let asked = Asked {
        listener: Arc::downgrade(&listener),
        service: Arc::downgrade(&service),
        shards: Arc::downgrade(&shards),
    };
    loop {
        let Ok((stream, _)) = control.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(stream) = stream.into_std() else { continue };
        let by = peer::of(stream.as_fd());
        match asked.clone().answer_on_a_thread(stream).await {
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

/// Who is asked. Weak, as whoever takes their time to ask must not hold up the end of the server, nor
/// hold its lock beyond that.
struct Asked<H> {
    listener: Weak<Listener>,
    service: Weak<Service<H>>,
    shards: Weak<Shards>,
}

impl<H: Handler> Asked<H> {
    /// Not by `spawn_blocking`, which panics where no thread can be started, and which the end of the
    /// runtime waits for.
    async fn answer_on_a_thread(self, stream: UnixStream) -> io::Result<Question> {
        let (done, answered) = oneshot::channel();
        let stream = Arc::new(stream);
        let asks = Arc::clone(&stream);
        let thread = std::thread::Builder::new().name("unhang-asked".into());
        let started = thread.spawn(move || {
            let _ = done.send(self.answer(&asks));
        });
        if let Err(error) = started {
            let why = format!("no thread can be started to answer: {error}");
            control::tell_at_once(&stream, &format!("{why}\n"));
            return Err(io::Error::other(why));
        }
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the thread that answers panicked")))
    }

    /// Gives what was asked for, and answered.
    fn answer(&self, stream: &UnixStream) -> io::Result<Question> {
        let question = control::question(stream)?;
        match question {
            Question::Replace => self.listener.upgrade().ok_or_else(stopping)?.give_to(stream)?,
            Question::InFlight => {
                let answer = self.in_flight().ok_or_else(stopping)?;
                control::tell(stream, &answer);
            }
        }
        Ok(question)
    }

    fn in_flight(&self) -> Option<String> {
        let (service, shards) = (self.service.upgrade()?, self.shards.upgrade()?);
        let Rules { until, limits, in_flight, .. } = &*service.rules;
        let until = match until {
            Until::Dry => "dry",
            Until::Newline => "newline",
            Until::HalfClose => "half-close",
        };
        let (waits, idle) = (in_flight.lines(), shards.idle.lines(limits.read));
        let thinking = service.thinking.lines(limits.handler);
        let blocked = shards.blocked(limits.handler);
        Some(format!("until {until}\n{waits}{idle}{thinking}{blocked}"))
    }
}

impl<H> Clone for Asked<H> {
    fn clone(&self) -> Self {
        Self {
            listener: Weak::clone(&self.listener),
            service: Weak::clone(&self.service),
            shards: Weak::clone(&self.shards),
        }
    }
}

fn stopping() -> io::Error {
    io::Error::other("this server is stopping")
}
