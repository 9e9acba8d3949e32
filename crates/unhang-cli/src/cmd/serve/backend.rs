//! What answers the requests of `unhang serve`: the clock, a program per request, programs that live
//! on, or another server.

mod flags;
mod notices;

use std::path::Path;
use std::time::Duration;

use unhang::backend::{Command, Forward, Program, ReplyEnds, Target, Workers};
use unhang::{Fault, Handler, Limits, Reply, Request};

use super::clock;
#[cfg(feature = "nats")]
use super::door::Flags as Nats;
use super::metrics::Metrics;
use super::metrics::behind::Now;
use super::rest::{Behind, Rest, behind};
#[cfg(not(feature = "nats"))]
use crate::cmd::nats::Access as Nats;
use crate::exit;
use crate::stdio::complain;
pub(super) use flags::Answers;
use flags::To;
pub(super) use notices::Notices;

/// How much longer than the backend's own deadlines the server's for its handler is: so the backend,
/// which knows why, is the one to tell the client.
pub(super) const MARGIN: Duration = Duration::from_secs(1);

/// What answers.
#[derive(Clone)]
pub(super) enum Backend {
    Clock,
    Program(Program),
    /// And how many there are to be.
    Workers(Workers),
    Forward(Forward),
    #[cfg(feature = "nats")]
    Nats(unhang_nats::Door),
}

impl Answers {
    /// What the server's limits have to be, so that the backend keeps its deadlines itself.
    pub(super) fn stretch(&self, limits: &mut Limits) {
        if !self.program.is_empty() || self.to.is_some() {
            limits.handler += limits.queue + MARGIN;
        }
    }

    /// Makes the backend, or says why it cannot be and gives the exit code. Nobody is let in before.
    pub(super) async fn backend(
        &self,
        limits: &Limits,
        socket: Option<&Path>,
        nats: &Nats,
        notices: &Notices,
    ) -> Result<Backend, u8> {
        match &self.to {
            #[cfg(feature = "nats")]
            Some(To::Nats(address)) => {
                let door = super::door::door(nats, address, limits, notices.nats_listener());
                return door.await.map(Backend::Nats);
            }
            Some(To::Server(target)) => {
                say_that_nats_is_meant(nats, socket)?;
                return self.forward(target, limits, socket, notices);
            }
            None => say_that_nats_is_meant(nats, socket)?,
        }
        let [program, arguments @ ..] = &*self.program else { return Ok(Backend::Clock) };
        // Ours are closed on exec; what we have inherited is not: a program would keep it open, and
        // with it perhaps a socket or a lock of the one that started us.
        close_fds::set_fds_cloexec(3, &[]);
        let command = Command::new(program, arguments.iter().cloned()).map_err(|error| {
            complain("serve", error);
            exit::FAILED
        })?;
        if let Some(count) = self.workers {
            return self.workers(command, count, limits, socket, notices).await;
        }
        let mut program = Program::new(command)
            .deadline(limits.handler)
            .queue_deadline(limits.queue)
            .notices(notices.listener());
        if let Some(socket) = socket {
            program = program.serving(socket);
        }
        if let Some(most) = self.processes {
            program = program.processes(most);
        }
        Ok(Backend::Program(program))
    }

    fn forward(
        &self,
        target: &Target,
        limits: &Limits,
        socket: Option<&Path>,
        notices: &Notices,
    ) -> Result<Backend, u8> {
        let mut forward = Forward::new(target.clone())
            .reply_ends(self.reply_ends)
            .half_close(self.half_close.into())
            .deadline(limits.handler)
            .queue_deadline(limits.queue)
            .notices(notices.listener());
        let Target::Unix(path) = target else {
            self.say_that_ends_are_not_seen("a server of TCP cannot be looked into");
            return Ok(Backend::Forward(forward));
        };
        if socket.is_some_and(|socket| is_same(socket, path)) {
            complain(
                "serve",
                format_args!("--to {target} is the socket itself: expected another one"),
            );
            return Err(exit::USAGE);
        }
        let uid = rustix::process::geteuid().as_raw();
        complain("serve", format_args!("the server behind sees every client as uid {uid}"));
        match behind(path) {
            Ok(Behind::Hidden) => {
                self.say_that_ends_are_not_seen("its processes are another user's");
            }
            Ok(Behind::NobodyListens) => {
                complain("serve", format_args!("nobody listens on {target} yet"));
            }
            Ok(Behind::Seen) | Err(_) => {}
        }
        match Rest::new() {
            Ok(rest) => forward = forward.watch(rest),
            Err(error) => self.say_that_ends_are_not_seen(&error.to_string()),
        }
        Ok(Backend::Forward(forward))
    }

    /// At the start: afterwards each reply of a server that does not close would take as long as its
    /// deadline, and half a reply would look whole.
    fn say_that_ends_are_not_seen(&self, why: &str) {
        match self.reply_ends {
            ReplyEnds::Auto => complain(
                "serve",
                format_args!(
                    "cannot know where replies end that the server behind does not close, as {why}: they \
                     would end at the deadline; nor whether it died in the middle of one that it closes. \
                     Give --reply-ends newline, json, http or quiet=500ms; and --half-close always, if it \
                     waits for the end of a request"
                ),
            ),
            ReplyEnds::Close | ReplyEnds::Quiet(_) => complain(
                "serve",
                format_args!(
                    "cannot know whether the server behind died in the middle of a reply, as {why}: the \
                     half would look whole. --reply-ends newline, json and http tell a half from a whole"
                ),
            ),
            _ => {}
        }
    }

    async fn workers(
        &self,
        command: Command,
        count: usize,
        limits: &Limits,
        socket: Option<&Path>,
        notices: &Notices,
    ) -> Result<Backend, u8> {
        let mut workers = Workers::new(command, count)
            .frames(self.frames.into())
            .deadline(limits.handler)
            .queue_deadline(limits.queue)
            .notices(notices.listener());
        if let Some(socket) = socket {
            workers = workers.serving(socket);
        }
        if let Some(most) = self.max_requests {
            workers = workers.max_requests(most);
        }
        if let Some(most) = self.max_memory {
            workers = workers.max_memory(most.0 as u64);
        }
        workers.start().await.map(Backend::Workers).map_err(|error| {
            complain("serve", error);
            exit::FAILED
        })
    }
}

impl Backend {
    /// Has the server say what it knows of calls on other machines.
    #[cfg(feature = "nats")]
    pub(super) fn tell_of_calls(&self, server: unhang::Server) -> unhang::Server {
        match self {
            Self::Nats(door) => server.tell_of_calls(super::door::tell_of_calls(door)),
            _ => server,
        }
    }

    /// Adds what is behind to the counters.
    pub(super) fn tell_in(&self, metrics: &mut Metrics, notices: &Notices) {
        let counts = notices.counts();
        match self.clone() {
            Self::Clock => {}
            Self::Program(program) => metrics.tell_of(counts, move || {
                let (running, waiting) = program.counts();
                Now::Programs { running, waiting }
            }),
            Self::Workers(workers) => metrics.tell_of(counts, move || Now::Workers {
                counts: workers.counts(),
                waiting: workers.waiting(),
            }),
            Self::Forward(_) => metrics.tell_of(counts, || Now::Server),
            #[cfg(feature = "nats")]
            Self::Nats(door) => {
                metrics.tell_of_calls(notices.nats_counts(), move || door.waiting().len());
            }
        }
    }

    /// Ends what it has started.
    pub(super) async fn end(&self) {
        match self {
            Self::Clock | Self::Forward(_) => {}
            #[cfg(feature = "nats")]
            Self::Nats(_) => {}
            Self::Program(program) => program.end().await,
            Self::Workers(workers) => workers.end().await,
        }
    }
}

impl Handler for Backend {
    async fn handle(&self, request: Request) -> Result<Reply, Fault> {
        match self {
            Self::Clock => Ok(time().into()),
            // In boxes: else room for the largest of them, some kilobytes, would be made for each request,
            // of whichever backend.
            Self::Program(program) => Box::pin(program.handle(request)).await,
            Self::Workers(workers) => Box::pin(workers.handle(request)).await,
            Self::Forward(forward) => Box::pin(forward.handle(request)).await,
            #[cfg(feature = "nats")]
            Self::Nats(door) => Box::pin(door.handle(request)).await,
        }
    }
}

/// A flag that says nothing here would be believed to do something.
fn say_that_nats_is_meant(nats: &Nats, socket: Option<&Path>) -> Result<(), u8> {
    // Without a socket it is a service behind NATS.
    match nats.given(socket.is_some()) {
        Some(flag) => {
            complain("serve", format_args!("{flag} goes with nats:// alone"));
            Err(exit::USAGE)
        }
        None => Ok(()),
    }
}

/// Whether two paths lead to the same socket; also if there is none yet.
fn is_same(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    one == other || resolved(one).is_some_and(|one| resolved(other) == Some(one))
}

fn time() -> String {
    let mut reply = String::with_capacity(64);
    reply += "OK+ at ";
    clock::write_time(&mut reply);
    reply.push('\n');
    reply
}
