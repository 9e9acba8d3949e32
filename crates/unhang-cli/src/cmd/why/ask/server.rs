//! The word of a server of unhang's own: what it waits for at each connection, and when it will end
//! that. Only the server itself knows; it tells at the control socket beside its own.
//!
//! Whatever does not fit is not known, and what the kernel shows is judged as of any other server.

pub(crate) mod client;
pub(crate) mod waits;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::cmd::why::facts::{Facts, is_same_address};
use crate::cmd::why::helper::Helper;
use crate::cmd::why::helper::question::{Control, Question};
use crate::cmd::why::see::process;
use crate::cmd::why::target::Target;
use crate::sock_diag::Socket;
use waits::{Behind, ServerReport, Wait};

/// What the name of a control socket has more than the server's.
pub(crate) const CONTROL: &[u8] = b".ctl";
/// For one server: it takes a fraction of a millisecond, and the user is not to be kept.
const PATIENCE: Duration = Duration::from_millis(300);
/// For all of them together.
const PATIENCE_FOR_ALL: Duration = Duration::from_secs(1);

/// So many calls on other machines are asked after.
const MOST_CALLS: usize = 4;

/// Asks the servers of those connections that are going to be judged.
pub(crate) fn ask_servers(facts: &mut Facts, target: &Target, helper: &Helper) {
    let until = Instant::now() + PATIENCE_FOR_ALL;
    let mut reports: HashMap<u32, ServerReport> = HashMap::new();
    let mut calls = HashMap::new();
    let is_control = |socket: &&Socket| socket.name.ends_with(CONTROL);
    let controls: Vec<&Socket> = facts.listeners().filter(is_control).collect();
    if controls.is_empty() {
        return;
    }
    for listener in facts.listeners() {
        let Some((control, pid)) = control_of(facts, &controls, listener) else { continue };
        let ends = ends(facts, target, listener, pid);
        if !ends.is_empty() {
            let patience = until.saturating_duration_since(Instant::now()).min(PATIENCE);
            let told = ask(helper, control, pid, &ends, patience);
            if calls.is_empty() {
                calls = ask_after_calls(helper, control, pid, &told);
            }
            reports.extend(told);
        }
    }
    facts.details.reports = reports;
    facts.details.calls = calls;
}

/// What the workers on other machines say, that the longest waiting of these have reached. That machine is looked at
/// there, which takes as long as a look here: half of the time that is left.
fn ask_after_calls(
    helper: &Helper,
    control: &Socket,
    pid: u32,
    told: &HashMap<u32, ServerReport>,
) -> HashMap<u32, String> {
    let mut waits: Vec<_> = told
        .iter()
        .filter_map(|(inode, report)| match report.behind {
            Some(Behind::Call(number)) => Some((report.waited, *inode, number)),
            _ => None,
        })
        .collect();
    waits.sort_unstable_by(|one, other| other.cmp(one));
    let mut calls = HashMap::new();
    for (_, inode, number) in waits.into_iter().take(MOST_CALLS) {
        let millis = u64::try_from(helper.deadline().left().as_millis() / 2).unwrap_or(0);
        let control = question_of(control);
        let question = Question::Call { pid, control, number, millis };
        let said: Option<Option<Vec<u8>>> = helper.ask(pid, &question);
        let text = said.flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        calls.insert(inode, text.unwrap_or_else(|| NO_WORD.to_owned()));
    }
    calls
}

const NO_WORD: &str = "its server did not say in time which worker has the call\n";

fn question_of(control: &Socket) -> Control {
    Control { name: control.name.clone(), inode: control.inode, file: control.file }
}

/// The socket that a server may be asked at, and the process that holds both. None if there is
/// none, if it is another's, if two servers share them while one replaces the other, and if
/// the server would not answer us, or cannot.
fn control_of<'a>(
    facts: &Facts,
    controls: &[&'a Socket],
    listener: &Socket,
) -> Option<(&'a Socket, u32)> {
    let is_of_it =
        |control: &Socket| control.name.strip_suffix(CONTROL) == Some(&listener.name[..]);
    let is_held = |pid: u32, inode: u32| facts.owners(inode).any(|(process, _)| process.pid == pid);
    let mut owners: Vec<_> = facts.owners(listener.inode).map(|held| held.0).collect();
    owners.dedup_by_key(|process| process.pid);
    let [server] = owners[..] else { return None };
    let may_ask = facts.visibility.uid == 0 || server.uid == Some(facts.visibility.uid);
    let control = controls.iter().find(|one| is_of_it(one) && is_held(server.pid, one.inode))?;
    (may_ask && !server.is_stopped()).then_some((control, server.pid))
}

/// The server's ends of its connections, by descriptor.
fn ends(facts: &Facts, target: &Target, listener: &Socket, pid: u32) -> HashMap<u32, u32> {
    let is_judged = |socket: &&Socket| {
        is_same_address(listener, socket)
            && facts.is_accepted(socket)
            && facts.is_steady(socket.inode)
            && target.concerns(facts, socket)
    };
    let held = |socket: &Socket| {
        let inode = socket.inode;
        let owners = facts.owners(inode).filter(move |(process, _)| process.pid == pid);
        owners.map(move |(_, fd)| (fd, inode))
    };
    facts.sockets.values().filter(is_judged).flat_map(held).collect()
}

fn ask(
    helper: &Helper,
    control: &Socket,
    pid: u32,
    ends: &HashMap<u32, u32>,
    patience: Duration,
) -> HashMap<u32, ServerReport> {
    let control = question_of(control);
    let millis = u64::try_from(patience.as_millis()).unwrap_or(0);
    let said: Option<Option<Vec<u8>>> =
        helper.ask(pid, &Question::Control { pid, control, millis });
    let said = said.flatten().and_then(|bytes| waits::parse(&bytes));
    // Between the last look and the answer a descriptor may have become another connection's.
    let (Some(said), Ok(now)) = (said, process::sockets(pid)) else { return HashMap::new() };
    let now: HashSet<(u32, u32)> = now.into_iter().collect();
    let report = |Wait { fd, stage, waited, left, behind }: Wait| {
        let inode = *ends.get(&fd)?;
        let report = ServerReport { pid, until: said.until, stage, waited, left, behind };
        now.contains(&(fd, inode)).then_some((inode, report))
    };
    said.waits.iter().copied().filter_map(report).collect()
}
