//! A closer look at what seems to hang: the bytes that lie unread, the script's line, the goroutine
//! that reads. It takes longer and more rights, so it is taken only of what was found.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::location::Location;
use super::reader::Reader;
use crate::cmd::why::facts::Facts;
use crate::cmd::why::helper::Helper;
use crate::cmd::why::helper::question::Question;
use crate::cmd::why::see::pidfd;
use crate::cmd::why::target::Target;
use crate::cmd::why::verdict::{Code, End, Verdict};
use crate::sock_diag::Socket;

/// Of no more connections than anybody would read about.
const MOST: usize = 64;
/// For all Go programs together: the answer is not to keep the user for much longer than the
/// window. It takes some 30 µs for each connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the Go runtimes about the connections they hold. Before anything is judged, as a Go program
/// watches even what it has forgotten.
pub(crate) fn ask_readers(facts: &mut Facts, target: &Target, helper: &Helper) {
    let is_candidate = |socket: &&Socket| {
        let peer = socket.peer_inode().and_then(|peer| facts.sockets.get(&peer));
        // Also behind what the user asks about, if it was followed there.
        let is_looked_at = || facts.owners(socket.inode).next().is_some();
        facts.is_accepted(socket)
            && facts.is_steady(socket.inode)
            && socket.unread == 0
            && peer.is_some_and(|peer| peer.unread == 0 && facts.is_steady(peer.inode))
            && (target.concerns(facts, socket) || is_looked_at())
    };
    let mut by_process: BTreeMap<u32, Ends> = BTreeMap::new();
    let ends = facts
        .sockets
        .values()
        .filter(is_candidate)
        .flat_map(|socket| [Some(socket.inode), socket.peer_inode()])
        .flatten();
    for inode in ends {
        if let Some((pid, fd, data)) = runtime_watches(facts, inode) {
            let ends = by_process.entry(pid).or_default();
            ends.inodes.push(inode);
            ends.registered.push((fd, data));
        }
    }
    let until = Instant::now() + PATIENCE;
    for (pid, Ends { inodes, registered }) in by_process {
        let left = until.saturating_duration_since(Instant::now()).min(helper.deadline().left());
        let millis = u64::try_from(left.as_millis()).unwrap_or(0);
        let answer: Option<Readers> =
            helper.ask(pid, &Question::Readers { pid, registered, millis });
        let readers: Vec<_> = match answer.unwrap_or_else(|| Err(NOT_LOOKED_AT.to_owned())) {
            Ok(Some(readers)) => readers.into_iter().map(|reader| reader.map(Some)).collect(),
            Ok(None) => inodes.iter().map(|_| Ok(None)).collect(),
            Err(why) => inodes.iter().map(|_| Err(why.clone())).collect(),
        };
        facts.details.readers.extend(inodes.into_iter().zip(readers));
    }
}

/// What the helper answers about a process's descriptors.
type Readers = Result<Option<Vec<Result<Reader, String>>>, String>;

const NOT_LOOKED_AT: &str = "it was not looked at";

/// Those that one process holds, and what the runtime has to be asked about each.
#[derive(Default)]
struct Ends {
    inodes: Vec<u32>,
    registered: Vec<(u32, u64)>,
}

/// Process, descriptor and the runtime's own record of a socket that an event loop like Go's holds.
fn runtime_watches(facts: &Facts, inode: u32) -> Option<(u32, u32, u64)> {
    let (process, fd) = facts.owners(inode).next()?;
    let epolls = &process.descriptors.as_ref()?.epolls;
    let registration = epolls.iter().find_map(|epoll| epoll.watches(inode))?;
    registration.is_of_a_runtime().then_some((process.pid, fd, registration.data))
}

/// Where the scripts are at the ends of what was found, and, if asked for, what lies unread.
pub(crate) fn look(facts: &mut Facts, verdicts: &[Verdict], show_data: bool, helper: &Helper) {
    if helper.deadline().is_over() {
        // Who was judged was looked at, if not for the line.
        let owners = verdicts.iter().flat_map(Verdict::owners);
        let unknown = owners.map(|pid| (pid, Err(NOT_LOOKED_AT.to_owned())));
        facts.details.places.extend(unknown);
        return;
    }
    let found = verdicts.iter().filter(|one| one.code != Code::OwnerNotVisible).take(MOST);
    for end in found.flat_map(|verdict| verdict.clients.iter().chain(&verdict.server)).take(MOST) {
        for held in &end.owners {
            let place = || {
                let answer =
                    helper.ask(held.pid, &Question::Locations { pid: held.pid, show_data });
                answer.unwrap_or_else(|| Err(NOT_LOOKED_AT.to_owned()))
            };
            facts.details.places.entry(held.pid).or_insert_with(place);
        }
        if show_data && end.unread > 0 {
            peek(facts, end);
        }
    }
    for pid in verdicts.iter().flat_map(|verdict| &verdict.chain).map(|link| link.pid).take(MOST) {
        let scripts = || helper.ask(pid, &Question::Locations { pid, show_data });
        // A program in Go has no script, and its goroutines tell.
        let goroutines = || helper.ask(pid, &Question::Goroutines { pid });
        let place = || {
            let found: Option<Result<Vec<Location>, String>> = scripts();
            let found = match found {
                Some(Ok(places)) if places.is_empty() => goroutines(),
                found => found,
            };
            found.unwrap_or_else(|| Err(NOT_LOOKED_AT.to_owned()))
        };
        facts.details.places.entry(pid).or_insert_with(place);
    }
}

fn peek(facts: &mut Facts, end: &End) {
    let bytes = end.owners.iter().find_map(|held| pidfd::unread(held.pid, held.fd, end.inode).ok());
    if let Some(bytes) = bytes {
        facts.details.unread.insert(end.inode, bytes);
    }
}
