//! `--try`: does one thing to one connection, and sees whether that helps.
//!
//! The only part of `unhang why` that changes anything: announced, confirmed, and done only if the
//! connection is still the one that was looked at.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::net::{self, SendFlags, Shutdown};

use crate::cmd::why::facts::Facts;
use crate::cmd::why::see::namespaces::Namespaces;
use crate::cmd::why::see::pidfd;
use crate::cmd::why::see::process;
use crate::cmd::why::target::{Target, TargetArgument};
use crate::cmd::why::verdict::may_answer;
use crate::sock_diag::Socket;

/// What to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// End the reply, as if the server had: the client gets its end, and the server lives on
    Release,
    /// End the request, as if the client had half-closed
    HalfClose,
    /// Send a newline, as if the client had
    Newline,
}

/// Why nothing was tried.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The arguments do not name one connection, or it was not confirmed.
    Usage(String),
    /// It is not the same any more, or may not be touched.
    Failed(String),
}

/// One connection, as it was found.
struct Connection {
    client: Socket,
    server: Socket,
}

impl Connection {
    /// The one that a process and descriptor hold an end of.
    fn find(facts: &Facts, asked: &TargetArgument) -> Result<Self, Refusal> {
        let usage = |text: &str| Err(Refusal::Usage(text.to_owned()));
        let TargetArgument::Process { pid, fd: Some(fd), cookie } = asked else {
            return usage("expected one connection, as PID:FD:COOKIE; `unhang why PATH` names it");
        };
        let holds = |socket: &&Socket| {
            let held = facts.owners.get(&socket.inode);
            held.is_some_and(|held| held.contains(&(*pid, *fd)))
        };
        let Some(one) = facts.sockets.values().find(holds) else {
            return Err(Refusal::Failed(format!("{pid}:{fd} is no Unix socket that may be seen")));
        };
        if cookie.is_some_and(|cookie| cookie != one.cookie) {
            return Err(Refusal::Failed(format!(
                "{pid}:{fd} is another connection by now; nothing was done"
            )));
        }
        let Some(other) = one.peer_inode().and_then(|peer| facts.sockets.get(&peer)) else {
            return Err(Refusal::Failed(format!("{pid}:{fd} is not connected any more")));
        };
        match (facts.is_accepted(one), facts.is_accepted(other)) {
            (true, _) => Ok(Self { client: other.clone(), server: one.clone() }),
            (false, true) => Ok(Self { client: one.clone(), server: other.clone() }),
            (false, false) => usage("neither end of that was accepted by a server"),
        }
    }

    fn target(&self, action: Action) -> &Socket {
        match action {
            Action::Release => &self.server,
            Action::HalfClose | Action::Newline => &self.client,
        }
    }

    /// The end that the process has at this descriptor.
    fn end_at(&self, facts: &Facts, pid: u32, fd: u32) -> Option<&Socket> {
        let is_held = |end: &&Socket| {
            facts.owners.get(&end.inode).is_some_and(|held| held.contains(&(pid, fd)))
        };
        [&self.client, &self.server].into_iter().find(is_held)
    }

    /// Both ends are what they were, to the cookie.
    fn is_same(&self, namespaces: &Namespaces) -> io::Result<bool> {
        let (sockets, _) = namespaces.dump()?;
        let is_there = |end: &Socket| {
            let now = sockets.get(&end.inode);
            now.is_some_and(|now| (now.cookie, now.peer) == (end.cookie, end.peer))
        };
        Ok(is_there(&self.client) && is_there(&self.server))
    }
}

/// Announces it, has it confirmed, does it, and gives the words for what came of it, and whether
/// that helped.
pub(crate) fn attempt(
    facts: &Facts,
    asked: &TargetArgument,
    action: Action,
    yes: bool,
) -> Result<(String, bool), Refusal> {
    let connection = Connection::find(facts, asked)?;
    if action != Action::Release && connection.client.shut_write {
        return Err(Refusal::Failed(ended(facts, &connection)));
    }
    let target = connection.target(action);
    let Some((pid, fd)) = facts.owners.get(&target.inode).and_then(|held| held.first()) else {
        return Err(Refusal::Failed("the owner of that end may not be seen".to_owned()));
    };
    let announced = announce(facts, &connection, action);
    let at_answer = match action {
        Action::Release => may_answer(facts, &connection.server),
        Action::HalfClose | Action::Newline => None,
    };
    if let (true, TargetArgument::Process { pid, fd: Some(fd), cookie: None }) = (yes, asked) {
        let here = connection.end_at(facts, *pid, *fd).map_or(0, |end| end.cookie);
        return Err(Refusal::Usage(format!(
            "--yes takes the connection as PID:FD:COOKIE, here {pid}:{fd}:{here}: the number of a \
             process or descriptor may be another's by now"
        )));
    }
    let question = match at_answer {
        Some(name) if yes => {
            return Err(Refusal::Failed(format!(
                "{name} did not accept that connection, and may be at the answer, which would be \
                 lost; nothing was done. Without --yes this is asked at a terminal"
            )));
        }
        Some(name) => format!("{announced} ({name} may be at the answer, which would be lost)"),
        None => announced.clone(),
    };
    confirm(&question, yes)?;

    let failed = |error: io::Error| Refusal::Failed(format!("{pid}:{fd}: {error}"));
    // The ends may be in different ones.
    let namespaces = Namespaces::of(&process::pids().map_err(failed)?);
    if !connection.is_same(&namespaces).map_err(failed)? {
        return Err(Refusal::Failed("the connection has changed meanwhile".to_owned()));
    }
    let borrowed = act(action, *pid, *fd, target.inode).map_err(failed)?;
    let outcome = match action {
        Action::Release => {
            drop(borrowed);
            await_reader(&connection, &namespaces)
        }
        Action::HalfClose | Action::Newline => {
            let is_held =
                || process::sockets(*pid).is_ok_and(|all| all.contains(&(*fd, target.inode)));
            await_answer(&borrowed, connection.client.unread, is_held)
        }
    };
    let label = if outcome == Outcome::Came { "DONE" } else { "FAILED" };
    let text = format!("{label}  {announced}\n      {}\n", outcome.words(action));
    Ok((text, outcome == Outcome::Came))
}

/// How long something may take to come of it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// What the client waited for: more of a reply, or its end.
    Came,
    /// The server closed instead, and no byte of a reply was seen.
    Closed,
    /// The client closed instead, and no byte of a reply was seen.
    Left,
    Nothing,
}

impl Outcome {
    fn words(self, action: Action) -> &'static str {
        match (self, action) {
            (Self::Came, Action::Release) => "the client has read the end of its reply",
            (Self::Came, _) => "the server has answered",
            (Self::Closed, _) => {
                "the server has closed the connection, and no answer was seen: that was not what it \
                 waited for, or it answered too quickly to be seen"
            }
            (Self::Left, _) => "the client has closed the connection, and no answer was seen",
            (Self::Nothing, _) => {
                "no change was seen within a second: that may not be what it waits for"
            }
        }
    }
}

/// Which end half-closed it is not known: the kernel shows the same if a server shuts its input.
fn ended(facts: &Facts, connection: &Connection) -> String {
    let held = facts.owners.get(&connection.server.inode).and_then(|held| held.first());
    let cookie = connection.server.cookie;
    let server =
        held.map_or("PID:FD:COOKIE".to_owned(), |(pid, fd)| format!("{pid}:{fd}:{cookie}"));
    format!(
        "the client has ended its request already (or the server shut its input), and nothing can \
         be added; to end the reply instead: unhang why --try release {server}"
    )
}

fn announce(facts: &Facts, connection: &Connection, action: Action) -> String {
    let name = |end: &Socket| {
        let owners = facts.owners(end.inode);
        let names: Vec<_> = owners
            .map(|(process, fd)| format!("{}[{}] fd {fd}", process.name, process.pid))
            .collect();
        if names.is_empty() { "?".to_owned() } else { names.join(", ") }
    };
    let (client, server) = (name(&connection.client), name(&connection.server));
    match action {
        Action::Release => format!("end the reply of {server} to {client}"),
        Action::HalfClose => format!("end the request of {client} to {server}"),
        Action::Newline => format!("send a newline from {client} to {server}"),
    }
}

fn confirm(announced: &str, yes: bool) -> Result<(), Refusal> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Refusal::Usage(format!("would {announced}; to confirm, give --yes")));
    }
    match ask(announced, anstream::stderr(), io::stdin().lock()) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Refusal::Usage("not confirmed: nothing was done".to_owned())),
    }
}

/// Whether it was confirmed. A question that cannot be written was not seen.
fn ask(announced: &str, mut screen: impl Write, mut keys: impl BufRead) -> io::Result<bool> {
    write!(screen, "{announced}? [y/N] ")?;
    screen.flush()?;
    let mut answer = String::new();
    keys.read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Gives the borrowed descriptor: by it the queue can be watched without a gap.
fn act(action: Action, pid: u32, fd: u32, inode: u32) -> io::Result<OwnedFd> {
    let socket = pidfd::duplicate(pid, fd, inode)?;
    match action {
        Action::Release | Action::HalfClose => net::shutdown(&socket, Shutdown::Write)?,
        Action::Newline => {
            net::send(&socket, b"\n", SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        }
    }
    Ok(socket)
}

/// Watches the client's queue for bytes of an answer. The client may take them at once: hence without a
/// pause. Meanwhile the client's `close()` does not end the connection, so this ends soon after it.
fn await_answer(client: &OwnedFd, before: u32, is_held: impl Fn() -> bool) -> Outcome {
    const BETWEEN: Duration = Duration::from_millis(5);
    let began = Instant::now();
    let mut looked = began;
    while began.elapsed() < PATIENCE {
        // First whether the server has closed: what it sent before that is in the queue by then.
        let mut polled = [PollFd::new(client, PollFlags::empty())];
        let has_closed = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok()
            && polled[0].revents().contains(PollFlags::HUP);
        if ioctl_fionread(client).is_ok_and(|unread| unread > u64::from(before)) {
            return Outcome::Came;
        }
        if has_closed {
            return Outcome::Closed;
        }
        if looked.elapsed() > BETWEEN {
            looked = Instant::now();
            if !is_held() {
                return Outcome::Left;
            }
        }
    }
    Outcome::Nothing
}

/// Whether the client took the end that it was given: it read what lay before it, or closed.
fn await_reader(connection: &Connection, namespaces: &Namespaces) -> Outcome {
    const PAUSE: Duration = Duration::from_millis(50);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        thread::sleep(PAUSE);
        let Ok((sockets, _)) = namespaces.dump() else { break };
        let client = &connection.client;
        let now = sockets.get(&client.inode).filter(|now| now.cookie == client.cookie);
        if now.is_none_or(|now| now.unread != client.unread) {
            return Outcome::Came;
        }
    }
    Outcome::Nothing
}

/// The target that the facts for this must be gathered for.
pub(crate) fn target(asked: &TargetArgument) -> Result<Target, Refusal> {
    match asked {
        TargetArgument::Process { pid, fd: Some(fd), .. } => {
            Ok(Target::Process { pid: *pid, fd: Some(*fd) })
        }
        TargetArgument::Process { .. } | TargetArgument::Path(_) | TargetArgument::Abstract(_) => {
            Err(Refusal::Usage(
                "--try acts on connections, each as PID:FD:COOKIE; `unhang why PATH` names them"
                    .to_owned(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_cannot_be_written_is_not_confirmed_and_no_panic() {
        let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert!(ask("would do it", full(), &b"y\n"[..]).is_err());
        assert!(ask("would do it", Vec::new(), &b"y\n"[..]).unwrap());
        assert!(!ask("would do it", Vec::new(), &b"\n"[..]).unwrap());
    }
}
