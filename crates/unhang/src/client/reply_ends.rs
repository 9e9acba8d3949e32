//! Where a reply ends, told from its bytes alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::json::{Json, JsonEnd};

/// Where a reply ends. A client that cannot tell waits for its deadline.
///
/// The mark that ends the reply (a newline, a delimiter) stays part of it. A length before it does not, and does not
/// count towards the largest reply. Bytes behind the end are dropped with the connection.
///
/// ```
/// use unhang::{Client, LengthPrefix, ReplyEnds};
/// let lines = Client::new("/run/app.sock").reply_ends(ReplyEnds::AtNewline);
/// let frames = Client::new("/run/app.sock").reply_ends(ReplyEnds::AfterLength(LengthPrefix::U32Be));
/// let two_lines = Client::new("/run/app.sock").reply_ends(ReplyEnds::when(|reply| {
///     let mut ends = reply.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
///     ends.nth(1).map(|(at, _)| at + 1)
/// }));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ReplyEnds {
    /// When the server closes or half-closes the connection. The default: it fits a reply of any bytes, and
    /// cannot be mistaken.
    #[default]
    AtClose,
    /// After the first newline.
    AtNewline,
    /// After the first occurrence of these bytes, of which there must be at least one.
    AtDelimiter(Vec<u8>),
    /// After as many bytes as the number before them says.
    AfterLength(LengthPrefix),
    /// When one JSON value is whole: an object or a list with its last bracket. Only brackets and strings
    /// are looked at, so the value may still be wrong inside. A number ends with the byte behind it.
    AfterJson,
    /// When nothing came for so long after at least one byte. This is a guess: a server that pauses for
    /// longer in the middle of its reply is cut. So it is never the default, and only for servers that show
    /// the end of a reply in no other way.
    AfterQuiet(Duration),
    /// When a function says so, see [`ReplyEnds::when`].
    When(Predicate),
}

/// The number in front of a reply that says how many bytes follow it. It does not count itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LengthPrefix {
    /// One byte.
    U8,
    /// Two bytes, the high one first (network order).
    U16Be,
    /// Two bytes, the low one first.
    U16Le,
    /// Four bytes, the high one first (network order).
    U32Be,
    /// Four bytes, the low one first.
    U32Le,
    /// Eight bytes, the high one first (network order).
    U64Be,
    /// Eight bytes, the low one first.
    U64Le,
}

/// A function that finds the end of a reply.
#[derive(Clone)]
pub struct Predicate(Arc<Find>);

type Find = dyn Fn(&[u8]) -> Option<usize> + Send + Sync;

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

impl ReplyEnds {
    /// When `find` says so. It is given all bytes that came so far, each time that more came, and says how
    /// many of them are the reply; `None` while the reply is not whole.
    pub fn when(find: impl Fn(&[u8]) -> Option<usize> + Send + Sync + 'static) -> Self {
        Self::When(Predicate(Arc::new(find)))
    }

    /// How many bytes before the reply are not part of it.
    pub(super) fn prefix(&self) -> usize {
        match self {
            Self::AfterLength(prefix) => prefix.bytes(),
            _ => 0,
        }
    }

    /// What is wrong with it, if anything.
    pub(super) fn complaint(&self) -> Option<&'static str> {
        match self {
            Self::AtDelimiter(delimiter) if delimiter.is_empty() => {
                Some("expected a delimiter of at least one byte, got nothing")
            }
            Self::AfterQuiet(Duration::ZERO) => {
                Some("expected a time above zero for the end of a reply by silence, got none")
            }
            _ => None,
        }
    }
}

/// What shows the end, for people.
impl fmt::Display for ReplyEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtClose => f.write_str("close"),
            Self::AtNewline => f.write_str("newline"),
            Self::AtDelimiter(delimiter) => write!(f, "delimiter \"{}\"", delimiter.escape_ascii()),
            Self::AfterLength(prefix) => {
                write!(f, "end of the length in its first {} bytes", prefix.bytes())
            }
            Self::AfterJson => f.write_str("end of a JSON value"),
            Self::AfterQuiet(quiet) => write!(f, "silence of {quiet:?}"),
            Self::When(_) => f.write_str("end that the given function finds"),
        }
    }
}

impl LengthPrefix {
    /// How many bytes the number takes.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16Be | Self::U16Le => 2,
            Self::U32Be | Self::U32Le => 4,
            Self::U64Be | Self::U64Le => 8,
        }
    }

    /// How long the reply is with the number itself; `None` until the number is whole. A length that this
    /// machine cannot count is longer than any limit.
    pub(crate) fn whole(self, reply: &[u8]) -> Option<usize> {
        let number = reply.get(..self.bytes())?.iter();
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        let length = match self {
            Self::U8 | Self::U16Be | Self::U32Be | Self::U64Be => number.fold(0, add),
            Self::U16Le | Self::U32Le | Self::U64Le => number.rev().fold(0, add),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Some(length.saturating_add(self.bytes()))
    }
}

/// How far a reply got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its first so many bytes are the reply.
    Whole(usize),
    /// More has to come. It will have so many bytes, if that is known.
    More(Option<usize>),
    /// It cannot become what was expected, and why.
    Broken(&'static str),
}

/// Looks for the end of one reply in a growing buffer.
#[derive(Debug)]
pub(super) struct Scanner {
    /// What was searched already: a byte at a time must not cost a search of all each.
    searched: usize,
    json: JsonEnd,
}

/// How the line begins that tells a client why it got no answer. It ends as a line does, whatever else a
/// reply ends with.
const ERROR: &[u8] = b"ERR ";

impl Scanner {
    pub(super) fn new() -> Self {
        Self { searched: 0, json: JsonEnd::default() }
    }

    /// `reply` is everything that came so far.
    pub(super) fn look(&mut self, ends: &ReplyEnds, reply: &[u8]) -> Found {
        let found = match ends {
            ReplyEnds::AtClose | ReplyEnds::AfterQuiet(_) => Found::More(None),
            ReplyEnds::AtNewline => self.search(reply, b"\n"),
            ReplyEnds::AtDelimiter(delimiter) => self.search(reply, delimiter),
            ReplyEnds::AfterLength(prefix) => match prefix.whole(reply) {
                Some(length) if reply.len() >= length => Found::Whole(length),
                length => Found::More(length),
            },
            ReplyEnds::AfterJson => self.json(reply),
            ReplyEnds::When(Predicate(find)) => match find(reply) {
                Some(length) => Found::Whole(length.min(reply.len())),
                None => Found::More(None),
            },
        };
        let is_whole = matches!(found, Found::Whole(_));
        if is_whole || !may_be_error(reply) || matches!(ends, ReplyEnds::AtClose) {
            return found;
        }
        match reply.iter().position(|&byte| byte == b'\n') {
            Some(at) if reply.starts_with(ERROR) => Found::Whole(at + 1),
            _ => Found::More(None),
        }
    }

    /// Whether the server's close makes the reply whole.
    pub(super) fn is_whole_at_close(&self, ends: &ReplyEnds, reply: &[u8]) -> bool {
        match ends {
            ReplyEnds::AtClose | ReplyEnds::AfterQuiet(_) => !reply.is_empty(),
            ReplyEnds::AfterJson => self.searched == reply.len() && self.json.is_whole_at_close(),
            _ => false,
        }
    }

    fn json(&mut self, reply: &[u8]) -> Found {
        let from = self.searched;
        match self.json.take(&reply[from..]) {
            Json::End(at) => Found::Whole(from + at),
            Json::More => {
                self.searched = reply.len();
                Found::More(None)
            }
            Json::Broken(why) => Found::Broken(why),
        }
    }

    fn search(&mut self, reply: &[u8], delimiter: &[u8]) -> Found {
        // A delimiter may begin in what was searched already.
        let from = self.searched.saturating_sub(delimiter.len().saturating_sub(1));
        self.searched = reply.len();
        let mut windows = reply[from..].windows(delimiter.len().max(1));
        match windows.position(|window| window == delimiter) {
            Some(at) => Found::Whole(from + at + delimiter.len()),
            None => Found::More(None),
        }
    }
}

/// Whether it begins as the error line does, as far as it goes.
fn may_be_error(reply: &[u8]) -> bool {
    let length = reply.len().min(ERROR.len());
    length > 0 && reply[..length] == ERROR[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives it to the scanner in pieces of every size: it must find the same.
    fn found(ends: &ReplyEnds, reply: &[u8]) -> Found {
        let all = |piece: usize| {
            let mut scanner = Scanner::new();
            let mut found = Found::More(None);
            for end in (piece..reply.len()).step_by(piece).chain([reply.len()]) {
                found = scanner.look(ends, &reply[..end]);
                if matches!(found, Found::Whole(_)) {
                    break;
                }
            }
            found
        };
        let whole = all(reply.len().max(1));
        for piece in 1..reply.len() {
            assert_eq!(all(piece), whole, "{ends:?}, {piece} at a time");
        }
        whole
    }

    #[test]
    fn the_end_is_found_in_whatever_pieces_the_reply_comes() {
        let delimiter = |bytes: &[u8]| ReplyEnds::AtDelimiter(bytes.to_vec());
        let length = ReplyEnds::AfterLength;
        for (ends, reply, whole) in [
            (ReplyEnds::AtNewline, &b"one\ntwo\n"[..], 4),
            (delimiter(b"\0"), b"one\0two", 4),
            (delimiter(b"\r\n.\r\n"), b"a\r\n.\r\r\n.\r\nrest", 10),
            (delimiter(b"aab"), b"aaab", 4),
            (length(LengthPrefix::U8), b"\x02abc", 3),
            (length(LengthPrefix::U16Be), b"\0\x01abc", 3),
            (length(LengthPrefix::U16Le), b"\x01\0abc", 3),
            (length(LengthPrefix::U32Be), b"\0\0\0\x02abc", 6),
            (length(LengthPrefix::U32Le), b"\x02\0\0\0abc", 6),
            (length(LengthPrefix::U64Be), b"\0\0\0\0\0\0\0\x01abc", 9),
            (length(LengthPrefix::U64Le), b"\0\0\0\0\0\0\0\0abc", 8),
            (ReplyEnds::AfterJson, b" {\"a\":[1,\"}\\\"\"]} rest", 16),
        ] {
            assert_eq!(found(&ends, reply), Found::Whole(whole), "{ends:?}");
        }
    }

    #[test]
    fn half_a_reply_is_not_whole_and_a_length_says_what_is_missing() {
        let length = ReplyEnds::AfterLength(LengthPrefix::U32Be);
        assert_eq!(found(&length, b"\0\0"), Found::More(None));
        assert_eq!(found(&length, b"\0\0\0\x05ab"), Found::More(Some(9)));
        let too_long = ReplyEnds::AfterLength(LengthPrefix::U64Be);
        assert_eq!(found(&too_long, &[0xff; 9]), Found::More(Some(usize::MAX)));
        assert_eq!(found(&ReplyEnds::AtClose, b"a\n{}"), Found::More(None));
    }

    /// As a length, `ERR ` is a gigabyte, and as JSON it is none.
    #[test]
    fn an_error_line_ends_every_reply_but_one_that_ends_with_the_close() {
        let line = b"ERR busy\nrest";
        for ends in [
            ReplyEnds::AfterJson,
            ReplyEnds::AfterLength(LengthPrefix::U32Be),
            ReplyEnds::AfterLength(LengthPrefix::U32Le),
            ReplyEnds::AtDelimiter(b"\0".to_vec()),
            ReplyEnds::AfterQuiet(Duration::from_secs(1)),
            ReplyEnds::when(|_| None),
        ] {
            assert_eq!(found(&ends, line), Found::Whole(9), "{ends:?}");
        }
        assert_eq!(found(&ReplyEnds::AtClose, line), Found::More(None));
    }

    #[test]
    fn a_function_that_says_more_than_there_is_gets_what_there_is() {
        let too_far = ReplyEnds::when(|_| Some(99));
        assert_eq!(Scanner::new().look(&too_far, b"abc"), Found::Whole(3));
    }
}
