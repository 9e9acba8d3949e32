//! A process of our own that reads what a stranger could make us wait for: memory, programs, paths.
//!
//! A page of a process's memory, its program, or a directory on a path may lie on a file system that
//! never answers (FUSE, a dead NFS server): its reader sleeps, and not even SIGKILL helps. So a
//! helper reads it, and if it does not answer, it is left behind and another takes its place. It also
//! bounds memory: a helper that needs too much of it ends, and we go on.

pub(crate) mod answers;
pub(crate) mod question;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;

use crate::cmd::why::deadline::Deadline;
use crate::sock_diag::FileId;
use question::{LARGEST, Question};

/// One process may take this part of what the whole look may. An honest one is read in milliseconds; a machine on
/// which everybody waits for a CPU takes longer to say so.
const PART: u32 = 3;
/// For further processes of a user, one of whose kept us waiting: the others are not to pay for it.
const PATIENCE_WITH_THE_SLOW: Duration = Duration::from_millis(100);
/// Why a process was not looked at, or not wholly, that the deadline left no time for.
pub(crate) const LATE: &str = "there was no time left";
/// So many helpers may be left behind in one look.
const MOST_LOST: usize = 16;

/// Asks the helper, which is started when it is needed first.
#[derive(Debug)]
pub(crate) struct Helper {
    deadline: Deadline,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    lost: usize,
    /// Users whose processes kept a helper waiting.
    slow_users: HashSet<u32>,
    /// Processes that were not looked at, or not wholly, and why.
    passed_over: BTreeMap<u32, String>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    questions: ChildStdin,
    answers: ChildStdout,
}

impl Helper {
    pub(crate) fn new(deadline: Deadline) -> Self {
        Self { deadline, state: RefCell::default() }
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// What the helper answers to a question about a process; None, and noted, if it does not.
    #[cfg_attr(test, allow(unused_variables, clippy::unused_self))]
    pub(crate) fn ask<A: DeserializeOwned>(&self, pid: u32, question: &Question) -> Option<A> {
        // The tests' own program is no `unhang`.
        #[cfg(test)]
        let here = || {
            let names = &mut crate::cmd::why::see::other_name::OtherNames::default();
            serde_json::from_slice(&answers::answer(question, names).ok()?).ok()
        };
        #[cfg(test)]
        return here();
        #[cfg(not(test))]
        self.ask_helper(pid, question)
    }

    #[cfg_attr(test, allow(dead_code))]
    fn ask_helper<A: DeserializeOwned>(&self, pid: u32, question: &Question) -> Option<A> {
        let state = &mut *self.state.borrow_mut();
        if state.passed_over.contains_key(&pid) {
            return None;
        }
        match state.ask(pid, question, self.deadline) {
            Ok(answer) => Some(answer),
            // One that has ended was not passed over.
            Err(_) if user_of(pid).is_none() => None,
            Err(why) => {
                state.passed_over.insert(pid, why);
                None
            }
        }
    }

    /// The file that a name leads a process to.
    pub(crate) fn file(&self, pid: u32, name: &[u8]) -> Option<FileId> {
        let answer: Option<Option<FileId>> =
            self.ask(pid, &Question::File { pid, name: name.to_vec() });
        answer.flatten()
    }

    pub(crate) fn has_passed_over(&self, pid: u32) -> bool {
        self.state.borrow().passed_over.contains_key(&pid)
    }

    /// Notes a process that time did not suffice for.
    pub(crate) fn pass_over(&self, pid: u32) {
        self.pass_over_as(pid, LATE);
    }

    /// Notes a process that is not looked at, and why.
    pub(crate) fn pass_over_as(&self, pid: u32, why: &str) {
        if user_of(pid).is_none() {
            return;
        }
        self.state.borrow_mut().passed_over.entry(pid).or_insert_with(|| why.to_owned());
    }

    /// Processes that were not looked at, or not wholly, and why.
    pub(crate) fn passed_over(&self) -> BTreeMap<u32, String> {
        self.state.borrow().passed_over.clone()
    }
}

impl State {
    fn ask<A: DeserializeOwned>(
        &mut self,
        pid: u32,
        question: &Question,
        deadline: Deadline,
    ) -> Result<A, String> {
        let user = user_of(pid).ok_or("it has ended")?;
        let patience = match self.slow_users.contains(&user) {
            true => PATIENCE_WITH_THE_SLOW,
            false => deadline.whole() / PART,
        };
        // Another machine is asked in between: the question says for how long.
        let patience = match question {
            Question::Call { millis, .. } => Duration::from_millis(*millis).max(patience),
            _ => patience,
        };
        let patience = patience.min(deadline.left());
        if patience.is_zero() {
            return Err(LATE.to_owned());
        }
        if self.lost >= MOST_LOST {
            return Err("too many others did not let themselves be read".to_owned());
        }
        let until = Instant::now() + patience;
        let unreached = |error: io::Error| format!("no helper could be started: {error}");
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Running::start().map_err(unreached)?,
        };
        match running.ask(question, until) {
            Ok(answer) => {
                self.running = Some(running);
                serde_json::from_slice(&answer).map_err(|error| format!("no answer: {error}"))
            }
            Err(error) => {
                self.lost += 1;
                if error.kind() == io::ErrorKind::TimedOut {
                    self.slow_users.insert(user);
                }
                running.leave();
                Err(match error.kind() {
                    io::ErrorKind::TimedOut => {
                        "its memory or its files could not be read in time".to_owned()
                    }
                    _ => "to read it took more than a helper may have".to_owned(),
                })
            }
        }
    }
}

/// None if it has ended.
fn user_of(pid: u32) -> Option<u32> {
    std::fs::metadata(format!("/proc/{pid}")).ok().map(|status| status.uid())
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.leave();
        }
    }
}

impl Running {
    fn start() -> io::Result<Self> {
        // This very program, also if its file was replaced by now.
        let mut command = Command::new("/proc/self/exe");
        command.args(["why", "--helper"]).stderr(Stdio::null());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(questions), Some(answers)) => Ok(Self { child, questions, answers }),
            _ => Err(io::Error::other("it has no pipes")),
        }
    }

    /// A helper that answered before reads its next question at once, so this may be written whole.
    fn ask(&mut self, question: &Question, until: Instant) -> io::Result<Vec<u8>> {
        let question = serde_json::to_vec(question)?;
        self.questions.write_all(&question::length(question.len())?)?;
        self.questions.write_all(&question)?;
        let mut length = [0; 4];
        self.read(&mut length, until)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut answer = vec![0; length];
        self.read(&mut answer, until)?;
        Ok(answer)
    }

    fn read(&mut self, into: &mut [u8], until: Instant) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.answers, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Err(rustix::io::Errno::INTR) => continue,
                ready => ready?,
            };
            match self.answers.read(rest)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    }

    /// Ends it, and does not wait for that: one that sleeps in the kernel ends when that wakes it.
    fn leave(mut self) {
        /// One that does not ends within a millisecond.
        const SOON: Duration = Duration::from_millis(20);
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let until = Instant::now() + SOON;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::yield_now();
        }
    }
}
