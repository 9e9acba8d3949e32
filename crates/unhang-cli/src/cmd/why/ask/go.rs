//! Go: which goroutine waits to read a descriptor, or that none does. Structures and functions are
//! named as in the Go repository's `src/runtime`. No symbols are needed, so a stripped program tells
//! as much as any.

mod functions;
mod goroutines;
mod http;
mod inlined;
mod layout;
mod lines;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use super::elf::Image;
use super::location::{Frame, Location};
use super::memory::{Address, Memory, steady};
use super::reader::{Handler, Reader};
use functions::Functions;
use goroutines::Goroutines;
use http::Http;
use layout::Layout;

/// `pdNil` and `pdReady` (netpoll.go): nobody waits; the latter when something has come meanwhile.
const NOBODY: [u64; 2] = [0, 1];
/// `pdWait`: somebody is on the way to wait.
const ABOUT_TO_WAIT: u64 = 2;

/// Finds, for each descriptor, the goroutine that waits to read it, or says why that is not known: so for
/// those before which there is no time left. With each descriptor stands what the process has registered
/// with it in its epoll: `data` in /proc/PID/fdinfo. `None`: not a Go program.
pub(super) fn readers(
    memory: &Memory,
    image: &Image,
    registered: &[(u32, u64)],
    in_time: impl Fn() -> Result<(), String>,
) -> Result<Option<Vec<Result<Reader, String>>>, String> {
    let Some(build_info) = image.section(".go.buildinfo")? else { return Ok(None) };
    if !image.is_x86_64() {
        return Err("Go's layout on this processor is not known to this version".to_owned());
    }
    let layout = Layout::of(&layout::version(&memory.bytes(build_info.start, 256)?)?)?;
    let functions = Functions::find(memory, image, layout)?;
    let goroutines = Goroutines::find(memory, &functions, layout)?;
    let http = Http::new(memory, &goroutines);
    let poll = Poll { memory, goroutines: &goroutines, http, layout, owners: Cell::default() };
    let reader = |&(fd, epoll_data): &(u32, u64)| {
        in_time()?;
        steady(|| poll.reader(fd, epoll_data))
    };
    Ok(Some(registered.iter().map(reader).collect()))
}

/// Where those of its goroutines are that wait in the program's own code. Empty: there is none, or it is not
/// a Go program.
pub(super) fn locations(memory: &Memory, image: &Image) -> Result<Vec<Location>, String> {
    /// Of more, nobody reads.
    const MOST: usize = 64;
    let Some(build_info) = image.section(".go.buildinfo")? else { return Ok(Vec::new()) };
    if !image.is_x86_64() {
        return Err("Go's layout on this processor is not known to this version".to_owned());
    }
    let layout = Layout::of(&layout::version(&memory.bytes(build_info.start, 256)?)?)?;
    let functions = Functions::find(memory, image, layout)?;
    let goroutines = Goroutines::find(memory, &functions, layout)?;
    let all = goroutines.all_waiting()?;
    let places = all.iter().map(|one| location(goroutines.lines(one)));
    Ok(places.filter(|place| !place.is_library).take(MOST).collect())
}

/// The runtime's network poller.
struct Poll<'a> {
    memory: &'a Memory,
    goroutines: &'a Goroutines<'a>,
    http: Http<'a>,
    layout: Layout,
    /// How many goroutines could own a connection: counted once for all of them. A goroutine
    /// with one that is older than this look was there when they were counted.
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
            goroutine => self.waiting(Address(goroutine), fd)?,
        };
        // A goroutine that has come or gone meanwhile was perhaps seen half here and half there.
        match waits()? {
            after if after == before => Ok(reader),
            _ => Err("its goroutines are running".to_owned()),
        }
    }

    /// net/http has goroutines that read without waiting for what a client might say.
    fn waiting(&self, at: Address, fd: u32) -> Result<Reader, String> {
        let waiting = self.goroutines.waiting(at)?;
        let frames = waiting.names();
        let has = |name: &str| frames.iter().any(|frame| frame == name);
        if has("net/http.(*connReader).backgroundRead") {
            let handler = self.http.handler(at).map(|handler| Handler {
                goroutine: handler.id,
                selects: handler.selects,
                location: location(self.goroutines.lines(&handler)),
            });
            return Ok(Reader::Handled { handler });
        }
        let shared = frames.iter().any(|frame| frame.ends_with("http2readFrameHeader"))
            || frames.iter().any(|frame| frame.ends_with("/http2.readFrameHeader"));
        let is_idle = shared
            || has("net/http.(*conn).readRequest")
            || has("bufio.(*Reader).Peek") && has("net/http.(*conn).serve");
        // In a client's pool.
        let is_idle = is_idle
            || has("net/http.(*persistConn).readLoop")
                && has("bufio.(*Reader).Peek")
                && !self.http.is_asked(at, fd)?;
        match is_idle {
            true => Ok(Reader::KeptAlive { goroutine: waiting.id, shared }),
            false => Ok(Reader::Waiting {
                goroutine: waiting.id,
                location: location(self.goroutines.lines(&waiting)),
                frames,
            }),
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

/// Names the innermost call in the program's own code.
fn location(stack: Vec<Frame>) -> Location {
    let own = stack.iter().find(|frame| !is_library(frame));
    let is_library = own.is_none();
    let nothing = Frame { file: "?".to_owned(), line: None, function: "?".to_owned() };
    let Frame { file, line, function } = own.or(stack.first()).cloned().unwrap_or(nothing);
    let language = "Go".to_owned();
    Location { language, file, line, function, is_library, stack, ..Location::default() }
}

/// The first words of the paths of Go's own packages; other paths begin with a module's name.
const OWN_PACKAGES: &[&str] = &[
    "archive",
    "bufio",
    "bytes",
    "cmp",
    "compress",
    "container",
    "context",
    "crypto",
    "database",
    "debug",
    "embed",
    "encoding",
    "errors",
    "expvar",
    "flag",
    "fmt",
    "go",
    "hash",
    "html",
    "image",
    "index",
    "internal",
    "io",
    "iter",
    "log",
    "maps",
    "math",
    "mime",
    "net",
    "os",
    "path",
    "plugin",
    "reflect",
    "regexp",
    "runtime",
    "slices",
    "sort",
    "strconv",
    "strings",
    "structs",
    "sync",
    "syscall",
    "testing",
    "text",
    "time",
    "unicode",
    "unique",
    "unsafe",
    "vendor",
    "weak",
];

/// A module that was fetched lies in `NAME@VERSION`, and one that was copied below `vendor/`.
fn is_library(Frame { file, function, .. }: &Frame) -> bool {
    let first = function.split(['/', '.']).next().unwrap_or_default();
    OWN_PACKAGES.contains(&first) || file.contains('@') || file.contains("/vendor/")
}
