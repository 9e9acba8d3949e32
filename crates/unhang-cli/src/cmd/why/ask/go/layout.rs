//! What each version of Go's runtime looks like in memory.

use super::super::memory::Address;

/// The names of generic functions are long.
pub(super) const LONGEST_NAME: usize = 1024;

/// Offsets in `pollDesc` (netpoll.go), `g` and `gobuf` (runtime2.go), and how epoll's data leads to
/// a `pollDesc` (`netpollopen` in `netpoll_epoll.go`). All as the debug information of programs built
/// by each version has them, except 1.20: it is taken to be as 1.19, and every process proves or refuses it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    data: Data,
    pub(super) poll_fd: u64,
    pub(super) poll_rg: u64,
    /// In `g`: `sched`, and in that the offset of `bp`. The first two, `sp` and `pc`, never move.
    pub(super) sched: usize,
    pub(super) bp: usize,
    pub(super) status: usize,
    pub(super) goid: usize,
    pub(super) start_pc: usize,
    pub(super) inlining: Option<Inlining>,
}

/// Where the table of functions has those that the compiler put into others. `None` if that is
/// not known: then they are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Inlining {
    /// `gofunc` in `moduledata` (symtab.go).
    pub(super) go_func: u64,
    /// Of `_func` (runtime2.go).
    pub(super) func_size: u64,
    /// Of `inlinedCall` (symtabinl.go), and what it has in it.
    pub(super) call_size: u64,
    pub(super) name: u64,
    pub(super) parent_pc: u64,
}

/// What epoll's data is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Data {
    Pointer,
    /// A `taggedPointer` (`tagptr_64bit.go`): the pointer without its unused low bits, above so many
    /// bits of a tag.
    Tagged {
        tag_bits: u32,
        unused: u32,
    },
}

const GO_1_19: Layout = Layout {
    data: Data::Pointer,
    poll_fd: 8,
    poll_rg: 24,
    sched: 56,
    bp: 48,
    status: 144,
    goid: 152,
    start_pc: 312,
    inlining: Some(INLINING_1_19),
};
const INLINING_1_19: Inlining =
    Inlining { go_func: 304, func_size: 40, call_size: 20, name: 12, parent_pc: 16 };
/// `startLine` came into `_func`, and `inlinedCall` was written anew.
const INLINING_1_21: Inlining =
    Inlining { go_func: 320, func_size: 44, call_size: 16, name: 4, parent_pc: 8 };
/// `moduledata` grew in the middle.
const INLINING_1_27: Inlining = Inlining { go_func: 344, ..INLINING_1_21 };
/// `fdseq` came into `pollDesc`, and with it the tag.
const GO_1_21: Layout = Layout {
    data: Data::Tagged { tag_bits: 19, unused: 3 },
    poll_rg: 32,
    start_pc: 296,
    inlining: Some(INLINING_1_21),
    ..GO_1_19
};
/// `syscallbp` came into `g`.
const GO_1_23: Layout = Layout { status: 152, goid: 160, start_pc: 304, ..GO_1_21 };
/// `ret` left `gobuf`; tagged pointers are to 512 bytes.
const GO_1_25: Layout = Layout {
    data: Data::Tagged { tag_bits: 24, unused: 9 },
    bp: 40,
    status: 144,
    goid: 152,
    start_pc: 296,
    ..GO_1_23
};
/// `g` grew in the middle.
const GO_1_26: Layout = Layout { start_pc: 304, ..GO_1_25 };

impl Layout {
    /// The layout of a version, as `go1.22.10`.
    pub(super) fn of(version: &str) -> Result<Self, String> {
        // "devel go1.28-3ab5a7a" before a release, "go1.24.1 X:nocoverageredesign" with experiments.
        let minor = version.split_once("go1.").map_or("", |(_, rest)| rest);
        let minor = minor.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        match minor.parse() {
            Ok(19) => Ok(GO_1_19),
            Ok(20) => Ok(Self { inlining: None, ..GO_1_19 }),
            Ok(21 | 22) => Ok(GO_1_21),
            Ok(23 | 24) => Ok(GO_1_23),
            Ok(25) => Ok(GO_1_25),
            Ok(26) => Ok(GO_1_26),
            Ok(27) => Ok(Self { inlining: Some(INLINING_1_27), ..GO_1_26 }),
            Ok(0_u32..) => Err(format!("Go 1.{minor}'s layout is not known to this version")),
            Err(_) => Err(format!("Go's version {version:?} is not known to this version")),
        }
    }

    /// The `pollDesc` that epoll's data leads to.
    pub(super) fn poll_desc(self, epoll_data: u64) -> Address {
        Address(match self.data {
            Data::Pointer => epoll_data,
            // Programs on Linux have their memory in the lower half, so no sign is extended.
            Data::Tagged { tag_bits, unused } => epoll_data >> tag_bits << unused,
        })
    }
}

/// Go's version, from the beginning of the section `.go.buildinfo` (debug/buildinfo): a magic word,
/// the size of pointers, flags, and since 1.18 at 32 the version behind its length.
pub(super) fn version(build_info: &[u8]) -> Result<String, String> {
    const TEXT_FOLLOWS: u8 = 2;
    let text = || -> Option<&[u8]> {
        let flags = build_info.strip_prefix(b"\xff Go buildinf:\x08")?.first()?;
        // The length is a varint; one byte does for all versions there are.
        let length = usize::from(*build_info.get(32)?);
        (flags & TEXT_FOLLOWS != 0 && length < 128).then(|| build_info.get(33..33 + length))?
    };
    match text() {
        Some(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        None => Err("it does not tell Go's version in a known way".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_with_its_layout_or_is_not_known() {
        for (version, start_pc) in [
            ("go1.19.8", 312),
            ("go1.20", 312),
            ("go1.21.13", 296),
            ("go1.24rc1", 304),
            ("go1.25.5 X:nodwarf5", 296),
            ("devel go1.27-3ab5a7a Mon Jan 5", 304),
        ] {
            assert_eq!(Layout::of(version).unwrap().start_pc, start_pc, "{version}");
        }
        for (version, why) in [
            ("go1.28.1", "Go 1.28's layout is not known to this version"),
            ("go1.18", "Go 1.18's layout is not known to this version"),
            ("devel +1234", "\"devel +1234\" is not known"),
            ("go1.x", "\"go1.x\" is not known"),
        ] {
            let error = Layout::of(version).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn build_info_tells_the_version_or_that_it_does_not() {
        let mut section = b"\xff Go buildinf:\x08\x02".to_vec();
        section.resize(32, 0);
        section.extend(b"\x08go1.19.8\xff...");
        assert_eq!(version(&section).unwrap(), "go1.19.8");
        for end in 0..41 {
            assert!(version(&section[..end]).is_err(), "{end}");
        }
        // Before 1.18: pointers instead of text.
        section[15] = 0;
        assert!(version(&section).is_err());
    }

    #[test]
    fn epolls_data_leads_to_the_poll_desc() {
        let poll_desc = 0x7f12_3456_7e00_u64;
        let data = |version: &str, data| Layout::of(version).unwrap().poll_desc(data).0;
        assert_eq!(data("go1.19", poll_desc), poll_desc);
        assert_eq!(data("go1.21", poll_desc << 16 | 0x5), poll_desc);
        assert_eq!(data("go1.25", poll_desc << 15 | 0x5), poll_desc);
    }
}
