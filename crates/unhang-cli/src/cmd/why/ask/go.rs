//! Go: which goroutine waits to read a descriptor, or that none does. Structures and functions are
//! named as in the Go repository's `src/runtime`. No symbols are needed, so a stripped program tells
//! as much as any.

mod functions;
mod goroutines;
mod inlined;
mod layout;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::time::Instant;

use super::memory::{Address, Memory, steady};
use super::program;
use super::reader::Reader;
use functions::Functions;
use goroutines::Goroutines;
use layout::Layout;

/// `pdNil` and `pdReady` (netpoll.go): nobody waits; the latter when something has come meanwhile.
const NOBODY: [u64; 2] = [0, 1];
/// `pdWait`: somebody is on the way to wait.
const ABOUT_TO_WAIT: u64 = 2;

/// Finds, for each of a process's descriptors, the goroutine that waits to read it, or says why that
/// is not known: so for those that it does not come to by `until`. With each descriptor stands what
/// the process has registered with it in its epoll: `data` in /proc/PID/fdinfo. `None`: not a Go
/// program.
pub(crate) fn readers(
    pid: u32,
    registered: &[(u32, u64)],
    until: Instant,
) -> Result<Option<Vec<Result<Reader, String>>>, String> {
    let in_time = || match Instant::now() < until {
        true => Ok(()),
        false => Err("there was more to look at than could be in time".to_owned()),
    };
    in_time()?;
    let memory = Memory::open(pid)?;
    let image = program::of_process(pid, &memory)?;
    let Some(build_info) = image.section(".go.buildinfo")? else { return Ok(None) };
    if !image.is_x86_64() {
        return Err("Go's layout on this processor is not known to this version".to_owned());
    }
    let layout = Layout::of(&layout::version(&memory.bytes(build_info.start, 256)?)?)?;
    let functions = Functions::find(&memory, &image, layout)?;
    let goroutines = Goroutines::find(&memory, &functions, layout)?;
    let poll = Poll { memory: &memory, goroutines, layout, owners: Cell::default() };
    let reader = |&(fd, epoll_data): &(u32, u64)| {
        in_time()?;
        steady(|| poll.reader(fd, epoll_data))
    };
    Ok(Some(registered.iter().map(reader).collect()))
}

/// The runtime's network poller.
struct Poll<'a> {
    memory: &'a Memory,
    goroutines: Goroutines<'a>,
    layout: Layout,
    /// How many goroutines could own a connection: counted once for all of them. Whoever has one
    /// that is older than this look was there when it was counted.
    owners: Cell<Option<usize>>,
}

impl Poll<'_> {
    fn reader(&self, fd: u32, epoll_data: u64) -> Result<Reader, String> {
        let poll_desc = self.layout.poll_desc(epoll_data);
        if self.memory.u64(poll_desc + self.layout.poll_fd)? != u64::from(fd) {
            return Err(format!("what its epoll notes for descriptor {fd} is not Go's"));
        }
        let waits = || self.memory.u64(poll_desc + self.layout.poll_rg);
        let before = waits()?;
        let reader = match before {
            waiter if NOBODY.contains(&waiter) => {
                Reader::Nobody { handlers: self.possible_owners()? }
            }
            ABOUT_TO_WAIT => return Err("a goroutine is about to read".to_owned()),
            goroutine => {
                let (goroutine, frames) = self.goroutines.waiting(Address(goroutine))?;
                Reader::Waiting { goroutine, frames }
            }
        };
        // Who has come or gone meanwhile was perhaps seen half here and half there.
        match waits()? {
            after if after == before => Ok(reader),
            _ => Err("its goroutines are running".to_owned()),
        }
    }

    fn possible_owners(&self) -> Result<usize, String> {
        if let Some(owners) = self.owners.get() {
            return Ok(owners);
        }
        let owners = self.goroutines.possible_owners()?;
        self.owners.set(Some(owners));
        Ok(owners)
    }
}
