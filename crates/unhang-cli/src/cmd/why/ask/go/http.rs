//! Which goroutines of net/http belong together: one that only reads, and one that has the request.
//! Both have a pointer to the same structure on their stacks; the structure itself proves it.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use super::super::memory::{Address, Memory};
use super::goroutines::{Goroutines, Waiting, word};

/// How many goroutines are looked at: more requests at once than most machines bear.
const MOST: usize = 16 << 10;
/// As much of a `connReader` as is searched for its `conn`.
const READER: usize = 64;
/// As much of a `conn` as is searched for its `connReader`: `r` is its tenth word (server.go).
const CONNECTION: usize = 128;
/// As much of a `persistConn` as is searched for its `conn`, its twelfth word (transport.go).
const CLIENT: usize = 160;
/// `Sysfd` in the `netFD` that a connection leads to (`internal/poll/fd_unix.go`).
const DESCRIPTOR: u64 = 16;

pub(super) struct Http<'a> {
    pub(super) memory: &'a Memory,
    pub(super) goroutines: &'a Goroutines<'a>,
    /// For each word on the stack of a goroutine that serves a connection: that goroutine, or `None`
    /// if several have it.
    serving: OnceCell<HashMap<u64, Option<Address>>>,
    /// The words on the stacks of goroutines that wait for a reply.
    asking: OnceCell<HashSet<u64>>,
}

impl<'a> Http<'a> {
    pub(super) fn new(memory: &'a Memory, goroutines: &'a Goroutines<'a>) -> Self {
        let (serving, asking) = (OnceCell::new(), OnceCell::new());
        Self { memory, goroutines, serving, asking }
    }

    /// The goroutine that has the handler, while another waits to notice if its client leaves: that
    /// one has a `connReader`, which leads to the connection, which leads back to it, and which the
    /// serving goroutine has on its stack.
    pub(super) fn handler(&self, notices: Address) -> Result<Waiting, String> {
        let serving = self.serving()?;
        for reader in self.goroutines.words(notices)?.into_iter().filter(|word| is_pointer(*word)) {
            // `conn` is the first word of a `connReader` until 1.25, and further down since.
            for connection in words(&self.memory.up_to(Address(reader), READER).unwrap_or_default())
            {
                let Some(Some(at)) = serving.get(&connection) else { continue };
                let leads_back =
                    self.memory.up_to(Address(connection), CONNECTION).unwrap_or_default();
                if words(&leads_back).any(|word| word == reader) {
                    return self.goroutines.waiting(*at);
                }
            }
        }
        Err("which goroutine has the handler is not known".to_owned())
    }

    /// Whether a goroutine waits for a reply on the client's connection with this descriptor, which
    /// another goroutine reads.
    pub(super) fn is_asked(&self, reads: Address, fd: u32) -> Result<bool, String> {
        let asking = self.asking()?;
        if asking.is_empty() {
            return Ok(false);
        }
        let words: HashSet<u64> = self.goroutines.words(reads)?.into_iter().collect();
        let is_client = |word: &&u64| self.leads_to(Address(**word), fd);
        let client = words.iter().filter(|word| is_pointer(**word)).find(is_client);
        let client = client.ok_or("whether a goroutine waits for a reply is not known")?;
        Ok(asking.contains(client))
    }

    fn leads_to(&self, client: Address, fd: u32) -> bool {
        let bytes = self.memory.bytes(client, CLIENT).unwrap_or_default();
        pointers(&bytes).any(|connection| {
            let descriptor = self.memory.u64(Address(connection)).ok().filter(|at| is_pointer(*at));
            let number = descriptor.and_then(|at| self.memory.u64(Address(at) + DESCRIPTOR).ok());
            number == Some(u64::from(fd))
        })
    }

    fn serving(&self) -> Result<&HashMap<u64, Option<Address>>, String> {
        if let Some(known) = self.serving.get() {
            return Ok(known);
        }
        let mut found: HashMap<u64, Option<Address>> = HashMap::new();
        let of_http = |name: &str| name.starts_with("net/http.");
        self.goroutines.each_waiting(MOST, of_http, |at, calls, stack| {
            if calls.has("net/http.(*conn).serve") {
                for word in pointers(stack) {
                    let entry = found.entry(word).or_insert(Some(at));
                    if *entry != Some(at) {
                        *entry = None;
                    }
                }
            }
        })?;
        Ok(self.serving.get_or_init(|| found))
    }

    fn asking(&self) -> Result<&HashSet<u64>, String> {
        if let Some(known) = self.asking.get() {
            return Ok(known);
        }
        let mut found = HashSet::new();
        self.goroutines.each_waiting(
            MOST,
            |_| true,
            |_, calls, stack| {
                if calls.has("net/http.(*persistConn).roundTrip") {
                    found.extend(pointers(stack));
                }
            },
        )?;
        Ok(self.asking.get_or_init(|| found))
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|at| word(at, 0))
}

fn pointers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    words(bytes).filter(|word| is_pointer(*word))
}

/// What may be a pointer: a program's own half of all addresses, but for its very beginning. Go's heap
/// begins anywhere since 1.26.
fn is_pointer(word: u64) -> bool {
    word % 8 == 0 && (0x1_0000..1 << 47).contains(&word)
}
