//! What a server wakes itself with: a pipe, a pair of sockets or an eventfd that nobody else has.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;

use super::proc;
use crate::cmd::why::see::process::pids;

/// As /proc names it, whichever it is.
pub(super) const EVENTFD: &str = "anon_inode:[eventfd]";

/// With more descriptors in all processes a look would take tens of milliseconds: then we do not know.
const MOST_LOOKED_AT: usize = 1 << 15;

/// What a server rests with only if no other process has it.
#[derive(Debug, Default)]
pub(super) struct Alone {
    /// Pipes and sockets, as /proc names them.
    links: BTreeSet<String>,
    /// By the kernel's number of it.
    eventfds: BTreeSet<String>,
}

impl Alone {
    pub(super) fn has_link(&mut self, link: &str) {
        self.links.insert(link.to_owned());
    }

    /// False on kernels before Linux 5.2, which do not say which one it is.
    pub(super) fn has_eventfd(&mut self, pid: u32, fd: u32) -> bool {
        let id = eventfd(pid, fd);
        let is_known = id.is_some();
        self.eventfds.extend(id);
        is_known
    }

    /// Whether no process but the holders has any of it. None if that cannot be known. Processes of other users
    /// that are not of the server's family cannot be looked into by all: they would have to have been given it.
    pub(super) fn is_theirs(&self, holders: &[u32], family: &[u32]) -> Option<bool> {
        if self.links.is_empty() && self.eventfds.is_empty() {
            return Some(true);
        }
        let mut looked_at = 0;
        let own = std::process::id();
        for pid in pids().ok()?.into_iter().filter(|pid| *pid != own && !holders.contains(pid)) {
            let all = match fs::read_dir(format!("/proc/{pid}/fd")) {
                Ok(all) => all,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(_) if family.contains(&pid) => return None,
                Err(_) => continue,
            };
            for one in all.flatten() {
                looked_at += 1;
                if looked_at > MOST_LOOKED_AT {
                    return None;
                }
                let Ok(link) = fs::read_link(one.path()) else { continue };
                let Some(link) = link.to_str() else { continue };
                let has_it = match link {
                    EVENTFD if self.eventfds.is_empty() => false,
                    EVENTFD => {
                        let number = one.file_name().to_str().and_then(|name| name.parse().ok());
                        let id = number.and_then(|number| eventfd(pid, number));
                        id.is_none_or(|id| self.eventfds.contains(&id))
                    }
                    _ => self.links.contains(link),
                };
                if has_it {
                    return Some(false);
                }
            }
        }
        Some(true)
    }
}

/// Which eventfd that is.
fn eventfd(pid: u32, fd: u32) -> Option<String> {
    proc::of_descriptor(pid, fd, "eventfd-id:")
}
