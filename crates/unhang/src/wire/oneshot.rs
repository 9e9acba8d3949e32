//! One request, one reply, and the close is the end of the reply.
//!
//! What a plain client already speaks: it writes its message and reads to the end. The message
//! carries no length, so its end has to be seen from outside, see [`Until`].

use memchr::memchr;

pub(crate) use super::decoded::Seen;
use super::decoded::{Decoded, Patience, Violation};

/// Where a request ends. A client that half-closes (`shutdown(SHUT_WR)`) ends it in every mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// When the receive queue has run dry after at least one byte: what a client needs that just
    /// writes its message and waits, as most PHP code does.
    #[default]
    Dry,
    /// At the first newline, which stays part of the request.
    Newline,
    /// Only when the client half-closes: the one end that no message, however long or however
    /// slowly written, can be mistaken about.
    HalfClose,
}

/// The longest message that Linux surely hands over in one piece. One `write` becomes one buffer
/// of the kernel up to 36,544 bytes (32 KiB of pages and what fits behind the header; measured on
/// 6.18, `unix_stream_sendmsg` in `net/unix/af_unix.c`); longer ones come in several, and the reader
/// can run dry between two of them.
pub(crate) const ONE_PIECE: usize = 32 * 1024;

/// One request, as a wire.
#[derive(Clone, Debug)]
pub(crate) struct OneShot {
    until: Until,
    /// How far the newline was looked for already: a byte a time must not cost a scan each.
    scanned: usize,
}

impl OneShot {
    pub(crate) fn new(until: Until) -> Self {
        Self { until, scanned: 0 }
    }

    pub(super) fn until(&self) -> Until {
        self.until
    }

    pub(super) fn advice(&self) -> &'static str {
        match self.until {
            Until::Dry => "send it, and half-close if it comes in pieces",
            Until::Newline => "end it with a newline, or half-close",
            Until::HalfClose => "half-close after it (shutdown SHUT_WR)",
        }
    }

    pub(super) fn decode(
        &mut self,
        input: &[u8],
        seen: Seen,
        most: usize,
    ) -> Result<Decoded, Violation> {
        let decoded = self.end(input, seen);
        let length = if let Decoded::Request { used, .. } = decoded { used } else { input.len() };
        if length > most { Err(Violation::too_long(most, input.len())) } else { Ok(decoded) }
    }

    fn end(&mut self, input: &[u8], seen: Seen) -> Decoded {
        let whole = |length| Decoded::Request { body: 0..length, used: length };
        if self.until == Until::Newline {
            if let Some(at) = memchr(b'\n', &input[self.scanned..]) {
                return whole(self.scanned + at + 1);
            }
            self.scanned = input.len();
        }
        match (self.until, seen) {
            (_, Seen::End) | (Until::Dry, Seen::Settled) => whole(input.len()),
            (Until::Dry, Seen::Dry) if input.len() <= ONE_PIECE => whole(input.len()),
            // A read that filled its buffer may have taken the last, so this wait has an end, too.
            (Until::Dry, Seen::More) if input.len() <= ONE_PIECE => {
                Decoded::Settle(Patience::Short)
            }
            (Until::Dry, Seen::Dry | Seen::More) => Decoded::Settle(Patience::Long),
            (Until::Newline | Until::HalfClose, _) => Decoded::More,
        }
    }
}

/// The start of the line that tells a client why it got no answer.
const ERROR: &str = "ERR ";

/// The line that tells a client why it got no answer: `ERR <reason>\n`.
///
/// Control characters of the reason (a newline above all) become spaces, so that it stays one line
/// and cannot drive a terminal.
pub(crate) fn error_line(reason: &str) -> Vec<u8> {
    format!("{ERROR}{}\n", super::refusal::plain(reason)).into_bytes()
}

/// The reason, if a whole reply is exactly one such line.
pub(crate) fn error_reason(reply: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(reply).ok()?.strip_prefix(ERROR)?.strip_suffix('\n')?;
    (!line.contains('\n')).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(length: usize) -> Decoded {
        Decoded::Request { body: 0..length, used: length }
    }

    fn decode(until: Until, input: &[u8], seen: Seen) -> Decoded {
        OneShot::new(until).decode(input, seen, usize::MAX).unwrap()
    }

    #[test]
    fn a_short_message_is_whole_as_soon_as_the_queue_is_dry() {
        assert_eq!(decode(Until::Dry, b"hello", Seen::Dry), whole(5));
    }

    #[test]
    fn a_message_of_exactly_one_piece_gets_no_added_wait_and_one_byte_more_does() {
        assert_eq!(decode(Until::Dry, &vec![b'x'; ONE_PIECE], Seen::Dry), whole(ONE_PIECE));
        let longer = vec![b'x'; ONE_PIECE + 1];
        assert_eq!(decode(Until::Dry, &longer, Seen::Dry), Decoded::Settle(Patience::Long));
        assert_eq!(decode(Until::Dry, &longer, Seen::Settled), whole(ONE_PIECE + 1));
    }

    #[test]
    fn a_newline_ends_the_request_wherever_the_pieces_were_cut() {
        let mut wire = OneShot::new(Until::Newline);
        assert_eq!(wire.decode(b"he", Seen::Dry, 99), Ok(Decoded::More));
        assert_eq!(wire.decode(b"hello", Seen::Settled, 99), Ok(Decoded::More));
        assert_eq!(wire.decode(b"hello\nrest\n", Seen::More, 99), Ok(whole(6)));
        assert_eq!(decode(Until::Newline, b"\n", Seen::Dry), whole(1));
    }

    #[test]
    fn a_half_close_ends_the_request_in_every_mode() {
        for until in [Until::Dry, Until::Newline, Until::HalfClose] {
            assert_eq!(decode(until, b"hello", Seen::End), whole(5), "{until:?}");
            assert_eq!(decode(until, b"", Seen::End), whole(0), "{until:?}");
        }
    }

    #[test]
    fn until_half_close_nothing_else_ends_it() {
        for seen in [Seen::More, Seen::Dry, Seen::Settled] {
            assert_eq!(decode(Until::HalfClose, b"a line\n", seen), Decoded::More, "{seen:?}");
        }
    }

    #[test]
    fn an_error_line_is_one_line_whatever_the_reason_holds() {
        assert_eq!(error_line("two\nlines\x1b[2J"), b"ERR two lines [2J\n");
        assert_eq!(error_reason(&error_line("two\nlines")), Some("two lines"));
    }

    #[test]
    fn only_a_reply_that_is_one_error_line_is_taken_for_one() {
        for reply in
            [&b"OK\n"[..], b"ERR", b"ERR x", b"ERR x\nERR y\n", b"ERROR x\n", b"ERR \xff\n"]
        {
            assert_eq!(error_reason(reply), None, "{:?}", reply.escape_ascii().to_string());
        }
    }
}
