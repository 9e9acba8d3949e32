//! What backends have to tell about the processes that they run, for a log and for counters.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Something that the operator of a service should know, and that no reply says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A process was started.
    Started {
        /// The worker's number, from 1; none for a program that runs once per request.
        worker: Option<usize>,
        /// Its process id.
        pid: u32,
    },
    /// A process has ended.
    Ended {
        /// The worker's number, from 1; none for a program that runs once per request.
        worker: Option<usize>,
        /// Its process id.
        pid: u32,
        /// Why it ended.
        why: Why,
        /// The last line of its standard error, which is not for clients.
        stderr: Option<String>,
        /// If its reply was cut: how many bytes of it had been passed on.
        cut_after: Option<u64>,
    },
    /// A program has ended, and another process kept its standard output open.
    Held {
        /// The program that has ended.
        pid: u32,
        /// The processes that have it open, as far as they can be seen.
        holders: Vec<Holder>,
    },
    /// No process could be started.
    NotStarted {
        /// The worker's number, from 1; none for a program that runs once per request.
        worker: Option<usize>,
        /// Why, and what to do.
        error: String,
    },
    /// The server behind a front could not be reached. The request was not sent.
    NotReached {
        /// Where it should listen.
        target: String,
        /// What the kernel said.
        error: String,
        /// For how long it was tried.
        waited: Duration,
    },
    /// A front has ended a reply.
    ReplyEnded {
        /// What has shown its end.
        by: EndedBy,
    },
    /// The server behind a front does not close. Told once.
    NotClosed {
        /// What has shown the end of its reply.
        by: EndedBy,
        /// The rule that fits its reply, and costs nothing.
        fitting: Option<&'static str>,
    },
    /// A process of the server behind closed its connection by ending, and it could not be seen how it ended:
    /// if one dies in the middle of a reply, the half may look whole. Told once.
    EndUnseen,
    /// The server behind was silent until the deadline, and was not told that its request is whole: it was not
    /// seen to wait for more. Told once.
    EndKept,
    /// A reply that was ended by silence went on.
    CutEarly {
        /// How long after the cut.
        after: Duration,
    },
    /// A request had to wait, as all programs or workers were at work.
    Waited {
        /// Until it had one, or was told that none came free.
        waited: Duration,
    },
    /// A worker printed something that is no reply: on standard error, or between two replies.
    Printed {
        /// The worker's number, from 1.
        worker: usize,
        /// Its process id.
        pid: u32,
        /// The line, without control characters.
        line: String,
    },
}

/// What has shown the end of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndedBy {
    /// The server behind has closed.
    Close,
    /// The rule for its bytes: a newline, JSON, HTTP.
    Rule,
    /// The server was seen to be through with it.
    Certain,
    /// Silence, which is a guess.
    Quiet,
    /// The deadline: nothing has shown it.
    Deadline,
}

impl EndedBy {
    /// One stable word, for logs and counters.
    pub fn code(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Rule => "rule",
            Self::Certain => "certain",
            Self::Quiet => "quiet",
            Self::Deadline => "deadline",
        }
    }
}

/// Why a process has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Why {
    /// By itself, with exit code 0.
    Done,
    /// By itself, with another exit code.
    Exit(i32),
    /// It was killed by a signal that did not come from us.
    Signal {
        /// The signal's name: `SIGSEGV`.
        name: String,
        /// The kernel's out-of-memory killer has struck meanwhile (`oom_kill` in /proc/vmstat).
        out_of_memory: bool,
    },
    /// Its end could not be seen: what the kernel said.
    Unknown(String),
    /// It was ended at its deadline.
    Deadline {
        /// The deadline.
        after: Duration,
        /// The other processes of its group, that were ended with it.
        with: Vec<Holder>,
    },
    /// The server stops.
    Stopping,
    /// A worker that answered as many requests as it may.
    MaxRequests,
    /// A worker that holds more memory than it may, in bytes.
    Memory(u64),
    /// A worker that has left a request without a reply, or whose request was given up.
    Unanswered,
    /// A worker that took its request, wrote nothing, and waits for more.
    Silent,
}

/// What clients are counted as that get no answer: docs/metrics.md.
pub(super) mod refused {
    use crate::Fault;

    /// All programs or workers are at work, or no more can be started.
    pub(in crate::backend) const BUSY: &str = "busy_backend";
    /// It has ended, or broken off, without a whole reply.
    pub(in crate::backend) const ENDED: &str = "backend_ended";
    /// The same by a signal.
    pub(in crate::backend) const KILLED: &str = "backend_killed";
    pub(in crate::backend) const LATE: &str = "backend_late";
    /// None runs, or none listens: the request did not run.
    pub(in crate::backend) const ABSENT: &str = "backend_absent";
    /// The word for a server that stops, wherever its client was.
    pub(in crate::backend) const STOPPING: &str = "stopping";

    /// A fault that is counted as one of these, and said in HTTP by the status that fits.
    pub(in crate::backend) fn fault(told: impl Into<String>, code: &'static str) -> Fault {
        let fault = match code {
            BUSY | ABSENT | STOPPING => Fault::busy(told),
            LATE => Fault::late(told),
            _ => Fault::new(told),
        };
        fault.with_code(code)
    }
}

/// A process, by name and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name that the kernel has for it, of 15 bytes at most (`proc_pid_comm(5)`).
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.pid)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { worker, pid } => write!(f, "{} was started", Who(*worker, *pid)),
            Self::Ended { worker, pid, why, stderr, cut_after } => {
                if let Some(bytes) = cut_after {
                    f.write_str("cut: ")?;
                    write!(f, "{} {why} after {bytes} bytes of its reply", Who(*worker, *pid))?;
                } else {
                    write!(f, "{} {why}", Who(*worker, *pid))?;
                }
                match stderr {
                    Some(line) => write!(f, ": {line}"),
                    None => Ok(()),
                }
            }
            Self::Held { pid, holders } => {
                match &**holders {
                    [] => f.write_str("a process that cannot be seen")?,
                    holders => write_list(f, holders)?,
                }
                let holds = if holders.len() > 1 { "hold" } else { "holds" };
                write!(
                    f,
                    " {holds} the standard output of program[{pid}], which has ended: the reply \
                     ended 1s later. FIX start it with >/dev/null 2>&1"
                )
            }
            Self::NotStarted { worker: Some(worker), error } => {
                write!(f, "worker {worker} cannot be started: {error}")
            }
            Self::NotStarted { worker: None, error } => {
                write!(f, "no process can be started: {error}")
            }
            Self::NotReached { target, error, waited } => write!(
                f,
                "cannot reach the server behind at {target}: {error} (tried for {waited:?}). Start \
                 it, or correct --to"
            ),
            Self::ReplyEnded { by } => write!(f, "a reply was ended by {by:?}"),
            Self::NotClosed { by, fitting } => {
                f.write_str("the server behind answers and does not close: ")?;
                f.write_str(match by {
                    EndedBy::Deadline => "its replies end at the deadline",
                    _ => "its replies end where it is seen to be through with them",
                })?;
                f.write_str(". FIX close the connection after the reply")?;
                match fitting {
                    Some(rule) => {
                        write!(f, "; until then --reply-ends {rule} fits, and costs nothing")
                    }
                    None => f.write_str("; until then, see --reply-ends"),
                }
            }
            Self::EndUnseen => f.write_str(
                "the server behind has a process for each client, which ends behind the reply: if one is \
                 killed in the middle of a reply, that cannot always be seen, and the half looks whole. FIX \
                 give --reply-ends newline, json or http, which tell a half from a whole",
            ),
            Self::EndKept => f.write_str(
                "the server behind said nothing, and was not told that the request is whole, as it was not seen \
                 to wait for more. FIX if it waits for the end of a request, give --half-close always",
            ),
            Self::CutEarly { after } => write!(
                f,
                "a reply was cut too early: it went on {after:.1?} after --reply-ends quiet had \
                 ended it. FIX raise that time, or let the server close"
            ),
            Self::Waited { waited } => write!(f, "a request waited for {waited:.1?}"),
            Self::Printed { worker, pid, line } => {
                write!(f, "{} printed: {line}", Who(Some(*worker), *pid))
            }
        }
    }
}

impl Why {
    /// One stable word, for logs and counters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Exit(_) => "exit",
            Self::Signal { .. } => "signal",
            Self::Unknown(_) => "unknown",
            Self::Deadline { .. } => "deadline",
            Self::Stopping => "stopping",
            Self::MaxRequests => "max_requests",
            Self::Memory(_) => "memory",
            Self::Unanswered => "unanswered",
            Self::Silent => "silent",
        }
    }

    /// What a client that gets no answer therefore is counted as.
    pub(super) fn refused_as(&self) -> &'static str {
        match self {
            Self::Signal { .. } => refused::KILLED,
            Self::Deadline { .. } => refused::LATE,
            Self::Stopping => refused::STOPPING,
            _ => refused::ENDED,
        }
    }

    /// As much as a client may know: the out-of-memory killer is the operator's affair.
    pub(super) fn for_client(&self) -> Self {
        match self {
            Self::Signal { name, .. } => Self::Signal { name: name.clone(), out_of_memory: false },
            why => why.clone(),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("ended with exit code 0"),
            Self::Exit(code) => write!(f, "ended with exit code {code}"),
            Self::Signal { name, out_of_memory } => {
                write!(f, "was killed by {name}")?;
                match out_of_memory {
                    true => f.write_str("; the kernel's out-of-memory killer has struck meanwhile"),
                    false => Ok(()),
                }
            }
            Self::Unknown(error) => write!(f, "cannot be awaited: {error}"),
            Self::Deadline { after, with } => {
                write!(f, "took longer than {after:?}, and was ended")?;
                match &**with {
                    [] => Ok(()),
                    with => {
                        f.write_str(" together with ")?;
                        write_list(f, with)
                    }
                }
            }
            Self::Stopping => f.write_str("was ended, as the server stops"),
            Self::MaxRequests => f.write_str("has answered --max-requests, and was replaced"),
            Self::Memory(bytes) => {
                write!(f, "held {bytes} bytes, more than --max-memory, and was replaced")
            }
            Self::Unanswered => f.write_str("left its request without a reply, and was ended"),
            Self::Silent => f.write_str(
                "has read the request and waits for more: it has not flushed its reply (perl \
                 $|=1, python flush=True, stdbuf -oL), or waits for the end of its input (then \
                 leave out --workers)",
            ),
        }
    }
}

/// A worker or a program, for people.
struct Who(Option<usize>, u32);

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Some(worker), pid) => write!(f, "worker {worker}[{pid}]"),
            Self(None, pid) => write!(f, "program[{pid}]"),
        }
    }
}

/// The first few: a build may have hundreds.
fn write_list(f: &mut fmt::Formatter<'_>, all: &[Holder]) -> fmt::Result {
    const MOST: usize = 5;
    for (nth, one) in all.iter().take(MOST).enumerate() {
        let comma = if nth > 0 { ", " } else { "" };
        write!(f, "{comma}{one}")?;
    }
    match all.len().saturating_sub(MOST) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// Where notices go.
#[derive(Clone, Default)]
pub(super) struct Notices(Option<Arc<dyn Fn(Notice) + Send + Sync>>);

impl Notices {
    pub(super) fn to(listener: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(super) fn tell(&self, notice: Notice) {
        if let Some(listener) = &self.0 {
            listener(notice);
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notices").field(&self.0.is_some()).finish()
    }
}
