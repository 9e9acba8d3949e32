//! What answers the requests of `unhang serve`: the clock, a program per request, programs that live
//! on, or another server. The flags that choose, and the handler that they mean.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use unhang::backend::{Command, Notice, Program};
use unhang::{Fault, Handler, Limits, Reply, Request};

use super::clock;
use super::log::Log;
use crate::cmd::complain;
use crate::exit;
use crate::units;

/// More processes than a machine has numbers for (`PID_MAX_LIMIT` in the kernel's threads.h).
const MANY: usize = 1 << 22;

/// How much longer than the backend's own deadlines the server's for its handler is: so the backend,
/// which knows why, is the one to tell the client.
const MARGIN: Duration = Duration::from_secs(1);

/// The flags.
#[derive(Args, Debug)]
#[command(next_help_heading = "What answers (unless set, the time)")]
pub(super) struct Answers {
    /// A program with its arguments, run once for each request: standard input is the request,
    /// standard output the reply, exit code 0 means answered
    // `last`: only after `--`, as a program's arguments look like ours.
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
    /// How many such programs may run at once; other requests wait [default: 4 per processor, 16 at
    /// least]
    #[arg(long, value_name = "N", value_parser = units::count(MANY), requires = "program")]
    processes: Option<usize>,
}

/// What answers.
#[derive(Clone)]
pub(super) enum Backend {
    Clock,
    Program(Program),
}

/// Where notices go: to the log as soon as there is one, before that to standard error.
#[derive(Clone, Default)]
pub(super) struct Notices(Arc<OnceLock<Arc<Log>>>);

impl Answers {
    /// What the server's limits have to be, so that the backend keeps its deadlines itself.
    pub(super) fn stretch(&self, limits: &mut Limits) {
        if !self.program.is_empty() {
            limits.handler += limits.queue + MARGIN;
        }
    }

    /// Makes the backend, or says why it cannot be and gives the exit code. Nobody is let in before.
    pub(super) fn backend(
        &self,
        limits: &Limits,
        socket: Option<&Path>,
        notices: &Notices,
    ) -> Result<Backend, u8> {
        let [program, arguments @ ..] = &*self.program else { return Ok(Backend::Clock) };
        // Ours are closed on exec; what we have inherited is not: a program would keep it open, and
        // with it perhaps a socket or a lock of the one that started us.
        close_fds::set_fds_cloexec(3, &[]);
        let command = Command::new(program, arguments.iter().cloned()).map_err(|error| {
            complain("serve", error);
            exit::FAILED
        })?;
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
}

impl Backend {
    /// Ends what it has started.
    pub(super) async fn end(&self) {
        match self {
            Self::Clock => {}
            Self::Program(program) => program.end().await,
        }
    }
}

impl Handler for Backend {
    async fn handle(&self, request: Request) -> Result<Reply, Fault> {
        match self {
            Self::Clock => Ok(time().into()),
            Self::Program(program) => program.handle(request).await,
        }
    }
}

impl Notices {
    /// From now on they are log lines.
    pub(super) fn go_to(&self, log: &Arc<Log>) {
        // Set once only.
        let _ = self.0.set(Arc::clone(log));
    }

    fn listener(&self) -> impl Fn(Notice) + Send + Sync + 'static {
        let log = Arc::clone(&self.0);
        move |notice| match log.get() {
            Some(log) => log.notice(&notice),
            None if super::log::is_worth_a_line(&notice) => complain("serve", notice),
            None => {}
        }
    }
}

fn time() -> String {
    let mut reply = String::with_capacity(64);
    reply += "OK+ at ";
    clock::write_time(&mut reply);
    reply.push('\n');
    reply
}
