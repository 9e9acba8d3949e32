//! What a reply must be, and what it was: bytes only.

use super::tally::Ended;

/// What the reply must be.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    /// Anything but nothing.
    Any,
    Length(usize),
    Exactly(Vec<u8>),
}

/// How a server that cannot answer says so.
const REFUSAL: &[u8] = b"ERR ";

/// A reply while it comes, of which little is kept.
#[derive(Debug, Default)]
pub(super) struct Reply {
    length: usize,
    /// As long as that many bytes begin like a refusal.
    refusal: usize,
    ends_with_newline: bool,
    /// There is something behind a newline.
    has_more: bool,
    /// It is not what was expected, up to here.
    is_other: bool,
}

impl Reply {
    pub(super) fn take(&mut self, bytes: &[u8], expected: &Expected) {
        if let Expected::Exactly(wanted) = expected {
            let rest = wanted.get(self.length..).unwrap_or_default();
            self.is_other |= !rest.starts_with(bytes);
        }
        if self.refusal == self.length.min(REFUSAL.len()) {
            let rest = &REFUSAL[self.refusal..];
            let alike = rest.iter().zip(bytes).take_while(|(one, other)| one == other).count();
            self.refusal += alike;
        }
        if self.refusal == REFUSAL.len() {
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            self.has_more |= self.ends_with_newline && !bytes.is_empty();
            self.has_more |= newline.is_some_and(|place| place + 1 < bytes.len());
            self.ends_with_newline = bytes.last() == Some(&b'\n');
        }
        self.length += bytes.len();
    }

    /// What it was, when the server has ended it.
    pub(super) fn at_end(&self, expected: &Expected) -> Ended {
        match expected {
            _ if self.length == 0 => Ended::Empty,
            Expected::Exactly(wanted) if !self.is_other && self.length == wanted.len() => {
                Ended::Answered
            }
            _ if self.is_refusal() => Ended::Refused,
            Expected::Any => Ended::Answered,
            Expected::Length(wanted) if self.length == *wanted => Ended::Answered,
            Expected::Length(wanted) if self.length < *wanted => Ended::Short,
            Expected::Exactly(wanted) if !self.is_other && self.length < wanted.len() => {
                Ended::Short
            }
            Expected::Length(_) | Expected::Exactly(_) => Ended::Wrong,
        }
    }

    /// What it was, if its end was seen in the bytes. Then one of no bytes is a reply, too.
    pub(super) fn as_frame(&self, expected: &Expected) -> Ended {
        match (self.at_end(expected), expected) {
            (Ended::Empty, Expected::Any) => Ended::Answered,
            (Ended::Empty, _) => Ended::Short,
            (ended, _) => ended,
        }
    }

    /// What it was, when time is up and the server has not ended it.
    pub(super) fn at_deadline(&self, expected: &Expected) -> Ended {
        match self.at_end(expected) {
            Ended::Empty | Ended::Short => Ended::TimedOut,
            _ => Ended::NotClosed,
        }
    }

    /// One line that begins as a refusal does, and nothing behind it.
    fn is_refusal(&self) -> bool {
        self.refusal == REFUSAL.len() && self.ends_with_newline && !self.has_more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, expected: &Expected, piece: usize) -> Reply {
        let mut reply = Reply::default();
        for piece in text.as_bytes().chunks(piece) {
            reply.take(piece, expected);
        }
        reply
    }

    #[test]
    fn a_reply_is_judged_alike_in_whatever_pieces_it_comes() {
        let exactly = |text: &str| Expected::Exactly(text.into());
        let cases = [
            ("", Expected::Any, Ended::Empty),
            ("x", Expected::Any, Ended::Answered),
            ("ERR busy\n", Expected::Any, Ended::Refused),
            ("ERR busy", Expected::Any, Ended::Answered),
            ("ERR\n", Expected::Any, Ended::Answered),
            ("ERR one\ntwo\n", Expected::Any, Ended::Answered),
            ("four", Expected::Length(4), Ended::Answered),
            ("fou", Expected::Length(4), Ended::Short),
            ("fours", Expected::Length(4), Ended::Wrong),
            ("ERR busy\n", Expected::Length(4), Ended::Refused),
            ("pong\n", exactly("pong\n"), Ended::Answered),
            ("pon", exactly("pong\n"), Ended::Short),
            ("pin", exactly("pong\n"), Ended::Wrong),
            ("pong\npong\n", exactly("pong\n"), Ended::Wrong),
            ("ERR no\n", exactly("ERR no\n"), Ended::Answered),
            ("ERR busy\n", exactly("pong\n"), Ended::Refused),
        ];
        for (text, expected, ended) in cases {
            for piece in 1..=text.len().max(1) {
                let reply = told(text, &expected, piece);
                assert_eq!(reply.at_end(&expected), ended, "{text:?} by {piece}, {expected:?}");
            }
        }
    }

    #[test]
    fn a_whole_reply_without_an_end_is_not_closed_and_half_of_one_timed_out() {
        let whole = Expected::Length(4);
        assert_eq!(told("four", &whole, 9).at_deadline(&whole), Ended::NotClosed);
        assert_eq!(told("fou", &whole, 9).at_deadline(&whole), Ended::TimedOut);
        assert_eq!(told("", &Expected::Any, 9).at_deadline(&Expected::Any), Ended::TimedOut);
        assert_eq!(told("ERR busy\n", &whole, 9).at_deadline(&whole), Ended::NotClosed);
    }
}
