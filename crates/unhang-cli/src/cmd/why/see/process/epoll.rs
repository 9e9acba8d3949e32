//! What an epoll instance watches: `/proc/PID/fdinfo/FD`.

use std::cell::OnceCell;
use std::fs::File;
use std::io::Read;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epoll {
    pub(crate) fd: u32,
    /// By inode: there may be thousands.
    pub(crate) watched: Vec<Registration>,
    /// See [`Self::conversations`].
    conversations: OnceCell<Vec<u32>>,
}

/// One descriptor that an epoll instance watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) fd: u32,
    /// Of the file itself, whatever has become of the descriptor since.
    pub(crate) inode: u64,
    /// What the program stored with it; in Go, a pointer to the runtime's own record.
    pub(crate) data: u64,
    pub(crate) events: u32,
}

const IN: u32 = 0x1;
const OUT: u32 = 0x4;
const ONESHOT: u32 = 1 << 30;
const EDGE: u32 = 1 << 31;

impl Registration {
    pub(crate) fn reads(self) -> bool {
        self.events & IN != 0
    }

    pub(crate) fn writes(self) -> bool {
        self.events & OUT != 0
    }

    pub(crate) fn is_edge_triggered(self) -> bool {
        self.events & EDGE != 0
    }

    /// It fired once; until it is armed again the program will hear nothing of this descriptor.
    pub(crate) fn is_spent(self) -> bool {
        self.events & ONESHOT != 0 && !self.reads() && !self.writes()
    }

    /// Readable and writable, edge-triggered: how the event loops under Go and Rust's async
    /// programs register everything once. It does not tell which thread wants to read.
    pub(crate) fn is_of_a_runtime(self) -> bool {
        self.reads() && self.writes() && self.is_edge_triggered()
    }

    /// The events by name, as in `IN|ET`.
    pub(crate) fn names(self) -> String {
        let names = [(IN, "IN"), (OUT, "OUT"), (EDGE, "ET"), (ONESHOT, "ONESHOT")];
        let set: Vec<_> =
            names.iter().filter(|(bit, _)| self.events & bit != 0).map(|(_, name)| *name).collect();
        if set.is_empty() { "nothing".to_owned() } else { set.join("|") }
    }
}

/// The lines of some 300,000 descriptors: a stranger could have more, to fill our memory.
const LONGEST: u64 = 32 << 20;

impl Epoll {
    /// None if it is closed already.
    pub(crate) fn read(pid: u32, fd: u32) -> Option<Self> {
        let file = File::open(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
        let mut info = String::new();
        file.take(LONGEST).read_to_string(&mut info).ok()?;
        Some(Self::new(fd, parse(&info)))
    }

    pub(crate) fn new(fd: u32, mut watched: Vec<Registration>) -> Self {
        watched.sort_by_key(|watched| watched.inode);
        Self { fd, watched, conversations: OnceCell::new() }
    }

    /// The first two sockets it watches that are conversations with others, which `is_one` tells.
    /// Whether it watches any but a certain one is asked for each: looking through all of them each
    /// time took half a minute if there were many.
    pub(crate) fn conversations(&self, is_one: impl Fn(u32) -> bool) -> &[u32] {
        let inodes = self.watched.iter().filter_map(|one| u32::try_from(one.inode).ok());
        self.conversations.get_or_init(|| {
            let mut two: Vec<u32> = Vec::new();
            for inode in inodes {
                if two.len() < 2 && !two.contains(&inode) && is_one(inode) {
                    two.push(inode);
                }
            }
            two
        })
    }

    pub(crate) fn watches(&self, inode: u32) -> Option<Registration> {
        let first = self.watched.partition_point(|watched| watched.inode < u64::from(inode));
        self.watched.get(first).copied().filter(|watched| watched.inode == u64::from(inode))
    }
}

/// Lines as `tfd: 4 events: 8000201d data: 7f00  pos:0 ino:2ff8 sdev:9`, in hexadecimal but for
/// the first. Other lines, and such as do not fit, are passed over.
fn parse(info: &str) -> Vec<Registration> {
    info.lines().filter_map(registration).collect()
}

fn registration(line: &str) -> Option<Registration> {
    let mut fd = None;
    let mut events = None;
    let mut data = None;
    let mut inode = None;
    let mut words = line.split_ascii_whitespace();
    while let Some(word) = words.next() {
        // A value stands after its name, with or without a space between.
        let (name, value) = word.split_once(':')?;
        let value = if value.is_empty() { words.next()? } else { value };
        match name {
            "tfd" => fd = value.parse().ok(),
            "events" => events = u32::from_str_radix(value, 16).ok(),
            "data" => data = u64::from_str_radix(value, 16).ok(),
            "ino" => inode = u64::from_str_radix(value, 16).ok(),
            _ => {}
        }
    }
    Some(Registration { fd: fd?, events: events?, data: data?, inode: inode? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1061
tfd:        4 events: 8000201d data:     7f0000000000  pos:0 ino:2ff8 sdev:9
tfd:        5 events: 40000000 data:                5  pos:0 ino:2ff9 sdev:9
";

    #[test]
    fn registrations_are_read_with_what_they_wait_for() {
        let [runtime, spent] = parse(INFO)[..] else { panic!("{:?}", parse(INFO)) };
        assert_eq!((runtime.fd, runtime.inode, runtime.data), (4, 0x2ff8, 0x7f00_0000_0000));
        assert!(runtime.is_of_a_runtime() && !runtime.is_spent());
        assert_eq!(runtime.names(), "IN|OUT|ET");
        assert!(spent.is_spent() && !spent.reads());
        assert_eq!(spent.names(), "ONESHOT");
    }

    /// 490 descriptors of one event loop that watched 490 sockets took half a minute.
    #[test]
    fn however_often_it_is_asked_each_socket_is_looked_at_once() {
        let watch = |inode| Registration { fd: 3, inode, data: 0, events: IN };
        let epoll = Epoll::new(9, (1..=2_000).map(watch).collect());
        let looked = std::cell::Cell::new(0);
        for _ in 0..2_000 {
            let others = epoll.conversations(|inode| {
                looked.set(looked.get() + 1);
                inode % 1_000 == 0
            });
            assert_eq!(others, [1_000, 2_000]);
        }
        assert_eq!(looked.get(), 2_000);
    }

    #[test]
    fn garbled_lines_are_passed_over() {
        for cut in 0..INFO.len() {
            assert!(parse(&INFO[..cut]).len() <= 2);
        }
        for line in ["tfd: x events: 1 data: 1 ino:1", "tfd:", ":", "tfd: 1 events: zz data: 0", ""]
        {
            assert_eq!(parse(line), [], "{line}");
        }
    }
}
