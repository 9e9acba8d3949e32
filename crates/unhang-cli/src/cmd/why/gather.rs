//! Collects the facts: two samples of the processes, four of the sockets.
//!
//! A conversation that goes to and fro can show the same picture twice by chance, hardly four times.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit};

use crate::cmd::why::ask::server::CONTROL;
use crate::cmd::why::facts::{
    Activity, Blocked, Connecting, Facts, Former, Sending, Visibility, activity, unchanged,
};
use crate::cmd::why::helper::Helper;
use crate::cmd::why::helper::question::Question;
use crate::cmd::why::see::capabilities;
use crate::cmd::why::see::namespaces::Namespaces;
use crate::cmd::why::see::path_state::PathState;
use crate::cmd::why::see::pidfd;
use crate::cmd::why::see::process::call::Call;
use crate::cmd::why::see::process::sched::Clock;
use crate::cmd::why::see::process::thread::Thread;
use crate::cmd::why::see::process::{self, Process};
use crate::cmd::why::target::Target;
use crate::sock_diag::{Kind, Socket, State};

/// How often the sockets are looked at in one window.
const SAMPLES: u32 = 4;

/// Watches the system for the length of the window.
pub(crate) fn gather(target: &Target, window: Duration, helper: &Helper) -> io::Result<Facts> {
    raise_limit();
    // Without the number: ENOENT from here does not mean what it does from the kernel's sockets.
    let unreadable = |error| io::Error::other(format!("/proc cannot be read: {error}"));
    let pids = process::pids().map_err(unreadable)?;
    let namespaces = Namespaces::of(&pids);
    let mut facts = Facts::default();
    let (sockets, hidden) = namespaces.dump()?;
    facts.see(sockets);
    facts.note_queues();
    facts.visibility = Visibility {
        uid: rustix::process::geteuid().as_raw(),
        namespaces: namespaces.count(),
        hidden_namespaces: hidden,
        lacks: capabilities::lacking(hidden > 0),
        is_partial: process::is_partial() || process::is_nested(),
        is_nested: process::is_nested(),
        hides_own: false,
        is_restricted: process::is_restricted(),
        samples: SAMPLES as usize,
        window,
    };
    find_owners(&pids, &mut facts, helper);
    let own = Some(facts.visibility.uid);
    facts.visibility.hides_own = facts.hidden.iter().any(|pid| process::user(*pid) == own);
    find_former(&mut facts, helper);
    find_path_states(&mut facts, helper);

    let before = involved(&pids, target, &mut facts, helper);
    let began = Instant::now();
    facts.steady = facts.sockets.keys().copied().collect();
    for _ in 1..SAMPLES {
        thread::sleep(window / (SAMPLES - 1));
        let (sockets, _) = namespaces.dump()?;
        let same = unchanged(&facts.sockets, &sockets);
        facts.steady.retain(|inode| same.contains(inode));
        facts.see(sockets);
    }
    look_again(&before, began.elapsed(), &mut facts, helper);
    find_heirs(target, &mut facts, helper);
    find_listened(target, &mut facts);
    find_connecting(&mut facts, helper);
    find_sending(&mut facts, helper);
    facts.passed_over = helper.passed_over();
    // What these hold is not known, as of those that this user may not see.
    let unread = facts.passed_over.keys().filter(|pid| !facts.processes.contains_key(pid));
    let unread: Vec<_> = unread.copied().collect();
    facts.hidden.extend(unread);
    Ok(facts)
}

/// A look opens few files at once, but on behalf of many: as many as may be.
fn raise_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // Refused only if another process lowers it meanwhile; then the old one has to do.
    let _ = rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit { current: limit.maximum, maximum: limit.maximum },
    );
}

/// Which process holds which socket, and which does not let this user see it.
fn find_owners(pids: &[u32], facts: &mut Facts, helper: &Helper) {
    for pid in pids {
        if helper.deadline().is_over() {
            helper.pass_over(*pid);
            continue;
        }
        match process::sockets(*pid) {
            Ok(sockets) => hold(*pid, &sockets, facts),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                if !process::is_kernel_thread(*pid) {
                    facts.hidden.insert(*pid);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                helper.pass_over_as(*pid, "it has more descriptors than are looked at");
            }
            // It has ended.
            Err(_) => {}
        }
    }
}

fn hold(pid: u32, sockets: &[(u32, u32)], facts: &mut Facts) {
    for (fd, inode) in sockets {
        if facts.sockets.contains_key(inode) {
            facts.owners.entry(*inode).or_default().push((pid, *fd));
        }
    }
}

/// Asks each end whose server is gone what it was connected to; the kernel tells only its owner.
fn find_former(facts: &mut Facts, helper: &Helper) {
    let orphans = facts.sockets.values().filter(|socket| {
        socket.is_orphan() && socket.name.is_empty() && facts.queue_of(socket.inode).is_none()
    });
    let mut former = HashMap::new();
    for orphan in orphans {
        let Some((pid, fd)) = facts.owners.get(&orphan.inode).and_then(|held| held.first()) else {
            continue;
        };
        // Half of a socketpair has no name, nor had its other half.
        let is_named = |name: &Vec<u8>| name.iter().any(|byte| *byte != 0);
        let name = pidfd::peer_name(*pid, *fd, orphan.inode);
        if let Some(name) = name.ok().flatten().filter(is_named) {
            let listener = facts.listeners().find(|listener| listener.name == name);
            let led_to = || helper.file(*pid, &name);
            let file = listener.and_then(|listener| listener.file).or_else(led_to);
            former.insert(orphan.inode, Former { name, file });
        }
    }
    facts.details.former = former;
}

/// The processes to look into: all that hold an end that the user asks about, and the processes that
/// those wait for, to the end of every chain.
fn involved(
    pids: &[u32],
    target: &Target,
    facts: &mut Facts,
    helper: &Helper,
) -> BTreeMap<u32, Process> {
    let concerned = facts.sockets.values().filter(|socket| {
        // It may be blocked in connect(); a datagram socket, in sending to any.
        let connects = socket.state == State::Unconnected
            && socket.peer_inode().is_none()
            && (socket.name.is_empty() || socket.kind == Kind::Datagram);
        connects || target.concerns(facts, socket)
    });
    // The owner of the listener may have accepted what another holds now.
    let accepted_by = |socket: &Socket| {
        let is_accepted = facts.is_accepted(socket);
        is_accepted.then(|| Some(facts.listener_of(socket)?.inode)).flatten()
    };
    let displaced = target.displaced(facts).map(|listener| listener.inode);
    let mut ends: Vec<u32> = concerned
        .flat_map(|socket| [Some(socket.inode), socket.peer_inode(), accepted_by(socket)])
        .flatten()
        .chain(displaced)
        .chain(
            facts
                .listeners()
                .filter(|one| target.concerns(facts, one))
                .flat_map(|listener| listener.pending.iter().copied()),
        )
        .collect();
    let mut clock = Clock::new();
    let mut seen = BTreeSet::new();
    let family = OnceCell::new();
    let mut next: Vec<u32> = target.process().into_iter().collect();
    loop {
        while let Some(pid) = next.pop() {
            if !seen.insert(pid) {
                continue;
            }
            let Some(process) = process::read(pid, &mut clock, helper) else { continue };
            ends.extend(awaited(&process, facts));
            if may_wait_for_children(&process, facts) {
                let children = family.get_or_init(|| process::children(pids)).get(&pid);
                next.extend(children.into_iter().flatten().take(MOST_CHILDREN));
            }
            facts.processes.insert(pid, process);
        }
        let Some(inode) = ends.pop() else { break };
        next.extend(facts.owners.get(&inode).into_iter().flatten().map(|held| held.0));
    }
    std::mem::take(&mut facts.processes)
}

/// Of one process: more workers than machines have processors.
const MOST_CHILDREN: usize = 256;

/// One of its threads waits for the end of a child, or at a pipe, which a child may have; or it is a server
/// of ours, whose workers and programs have pipes only.
fn may_wait_for_children(process: &Process, facts: &Facts) -> bool {
    let Some(descriptors) = &process.descriptors else { return false };
    let is_pipe = |fd: u32| descriptors.pipe(fd).is_some();
    let waits = |thread: &Thread| match &thread.call {
        Call::Child => true,
        Call::Read(fd) => is_pipe(*fd),
        Call::Poll(Some(watches)) => watches.iter().any(|watch| is_pipe(watch.fd)),
        _ => false,
    };
    let is_control = |inode: u32| {
        let socket = facts.sockets.get(&inode);
        socket.is_some_and(|one| one.state == State::Listening && one.name.ends_with(CONTROL))
    };
    process.threads.iter().any(waits)
        || descriptors.sockets.iter().any(|(_, inode)| is_control(*inode))
}

/// The far ends of the sockets that a process's threads are blocked on, or that it watches as a client.
fn awaited(process: &Process, facts: &Facts) -> Vec<u32> {
    let Some(descriptors) = &process.descriptors else { return Vec::new() };
    let far = |inode: u32| {
        let socket = facts.sockets.get(&inode)?;
        socket.peer_inode().or_else(|| Some(facts.queue_of(socket.inode)?.inode))
    };
    let blocked = process.threads.iter().flat_map(|thread| process.sockets_at(thread));
    // An event loop may have a connection open for a client of its own, as nginx to php-fpm.
    let watched = descriptors.epolls.iter().flat_map(|epoll| &epoll.watched);
    let opened = watched.filter_map(|one| u32::try_from(one.inode).ok()).filter(|inode| {
        let peer = || facts.sockets.get(&facts.sockets.get(inode)?.peer_inode()?);
        peer().is_some_and(|peer| facts.is_accepted(peer))
    });
    blocked.chain(opened).filter_map(far).collect()
}

/// The second sample of the processes.
fn look_again(
    before: &BTreeMap<u32, Process>,
    window: Duration,
    facts: &mut Facts,
    helper: &Helper,
) {
    let mut clock = Clock::new();
    let was_held: Vec<u32> = facts.owners.keys().copied().collect();
    for held in facts.owners.values_mut() {
        held.retain(|(pid, _)| !before.contains_key(pid));
    }
    for (pid, was) in before {
        let Some(mut process) = process::read(*pid, &mut clock, helper) else { continue };
        let threads: HashMap<u32, _> = was.threads.iter().map(|was| (was.tid, was)).collect();
        for thread in &mut process.threads {
            if let Some(was) = threads.get(&thread.tid) {
                let activity = activity(was, thread, window);
                if activity == Activity::Still {
                    // One that only its timeout woke has waited since before that.
                    thread.since = thread.since.max(was.since.map(|since| since + window));
                }
                facts.activities.insert(thread.tid, activity);
            }
        }
        if let Some(descriptors) = &process.descriptors {
            hold(*pid, &descriptors.sockets, facts);
        }
        facts.processes.insert(*pid, process);
    }
    // The owner of these closed them after the last look at the sockets, and is no stranger.
    for inode in was_held {
        if facts.owners.get(&inode).is_none_or(Vec::is_empty) {
            facts.steady.remove(&inode);
        }
    }
}

/// A socket that no process of the look holds is perhaps with one that came meanwhile: a child, or a
/// process that it was handed over to.
fn find_heirs(target: &Target, facts: &mut Facts, helper: &Helper) {
    let is_unheld = |inode: &u32| {
        facts.owners(*inode).next().is_none()
            && facts.sockets.get(inode).is_some_and(|socket| target.concerns(facts, socket))
    };
    let unheld: HashSet<u32> = facts.steady.iter().copied().filter(is_unheld).collect();
    if unheld.is_empty() {
        return;
    }
    for pid in process::pids().unwrap_or_default() {
        if helper.deadline().is_over() {
            // Which process has them is not known; all that was looked at stands.
            facts.visibility.is_partial = true;
            return;
        }
        for (_, inode) in process::sockets(pid).unwrap_or_default() {
            if unheld.contains(&inode) {
                facts.steady.remove(&inode);
            }
        }
    }
}

/// The maker of each listener with clients in its queue: another process may only have inherited it.
fn find_listened(target: &Target, facts: &mut Facts) {
    let waited_for = facts.listeners().filter(|one| one.unread > 0 && target.concerns(facts, one));
    let mut listened = HashMap::new();
    for listener in waited_for {
        let Some((pid, fd)) = facts.owners.get(&listener.inode).and_then(|held| held.first())
        else {
            continue;
        };
        // Of a process outside our namespace the kernel says 0.
        let made_by = pidfd::listened(*pid, *fd, listener.inode).ok().filter(|pid| *pid > 0);
        listened.extend(made_by.map(|made_by| (listener.inode, made_by)));
    }
    facts.details.listened = listened;
}

fn find_connecting(facts: &mut Facts, helper: &Helper) {
    let mut connecting = Vec::new();
    for process in facts.processes.values() {
        for thread in &process.threads {
            let Call::Connect(fd, Some(name)) = &thread.call else { continue };
            let Some(inode) = process.inode(*fd) else { continue };
            connecting.push(Connecting {
                thread: Blocked { pid: process.pid, fd: *fd, inode, since: thread.since },
                file: helper.file(process.pid, name),
                name: name.clone(),
            });
        }
    }
    facts.connecting = connecting;
}

/// Threads that are blocked in sending a datagram, and to which socket.
fn find_sending(facts: &mut Facts, helper: &Helper) {
    let receivers = facts.sockets.values().filter(|one| one.kind == Kind::Datagram);
    let receivers: Vec<_> = receivers.filter(|one| !one.name.is_empty()).collect();
    let by_file: HashMap<_, _> =
        receivers.iter().filter_map(|one| Some((one.file?, one.inode))).collect();
    let by_name: HashMap<_, _> = receivers.iter().map(|one| (&one.name[..], one.inode)).collect();
    let receiver = |pid: u32, name: &[u8]| match name.first() {
        Some(0) => by_name.get(name).copied(),
        _ => by_file.get(&helper.file(pid, name)?).copied(),
    };
    let mut sending = Vec::new();
    for process in facts.processes.values() {
        for thread in &process.threads {
            let Call::Write(fd) = thread.call else { continue };
            let socket = process.inode(fd).and_then(|inode| facts.sockets.get(&inode));
            let is_blocked = facts.activity(thread) == Activity::Still;
            let Some(socket) = socket.filter(|one| one.kind == Kind::Datagram && is_blocked) else {
                continue;
            };
            let to = match &thread.to {
                Some(name) => receiver(process.pid, name),
                None => socket.peer_inode().filter(|peer| facts.sockets.contains_key(peer)),
            };
            let (pid, inode, since) = (process.pid, socket.inode, thread.since);
            sending.push(Sending { thread: Blocked { pid, fd, inode, since }, to });
        }
    }
    facts.sending = sending;
}

fn find_path_states(facts: &mut Facts, helper: &Helper) {
    let mut states = HashMap::new();
    for listener in facts.listeners() {
        let owner = facts.owners.get(&listener.inode).and_then(|held| held.first());
        let (Some(bound), Some((pid, _))) = (listener.file, owner) else { continue };
        let (pid, name) = (*pid, listener.name.clone());
        let state = helper.ask(pid, &Question::PathState { pid, name, bound });
        states.extend(state.flatten().map(|state: PathState| (listener.inode, state)));
    }
    facts.path_states = states;
}
