//! The end of a JSON value, by its brackets and strings alone (RFC 8259).

use super::Found;

/// What was seen of one value so far.
#[derive(Debug, Default)]
pub(super) struct JsonScanner {
    searched: usize,
    /// The brackets that are open, each by the one that closes it.
    open: Vec<u8>,
    within: Within,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    /// White space before the value.
    #[default]
    Before,
    /// An object or a list, outside of strings.
    Brackets,
    String,
    /// A string, behind a backslash.
    Escape,
    /// A number, `true`, `false` or `null`: it ends with the byte behind it.
    Word,
}

const BROKEN: &str = "expected JSON, got a byte that begins no value";
const CROSSED: &str = "expected JSON, got a bracket that closes another one than was opened";

impl JsonScanner {
    /// `reply` is everything that came so far.
    pub(super) fn look(&mut self, reply: &[u8]) -> Found {
        while let Some(&byte) = reply.get(self.searched) {
            let here = self.searched;
            if self.within == Within::Word && !is_word(byte) {
                return Found::Whole(here);
            }
            match self.take(byte) {
                Ok(true) => return Found::Whole(here + 1),
                Ok(false) => self.searched += 1,
                Err(why) => return Found::Broken(why),
            }
        }
        Found::More(None)
    }

    /// A number is not known to be whole before something follows it. The end does.
    pub(super) fn is_whole_at_close(&self, reply: &[u8]) -> bool {
        self.within == Within::Word && self.searched == reply.len()
    }

    /// Whether the value ends with this byte.
    fn take(&mut self, byte: u8) -> Result<bool, &'static str> {
        match (self.within, byte) {
            (Within::Before, b' ' | b'\t' | b'\r' | b'\n') => {}
            (Within::Before | Within::Brackets, b'"') | (Within::Escape, _) => {
                self.within = Within::String;
            }
            (Within::Before | Within::Brackets, b'{') => self.opened(b'}'),
            (Within::Before | Within::Brackets, b'[') => self.opened(b']'),
            (Within::Before, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => self.within = Within::Word,
            (Within::Before, _) => return Err(BROKEN),
            (Within::Brackets, b'}' | b']') => {
                if self.open.pop() != Some(byte) {
                    return Err(CROSSED);
                }
                return Ok(self.open.is_empty());
            }
            (Within::String, b'\\') => self.within = Within::Escape,
            (Within::String, b'"') => {
                self.within = Within::Brackets;
                return Ok(self.open.is_empty());
            }
            (Within::Brackets | Within::String | Within::Word, _) => {}
        }
        Ok(false)
    }

    fn opened(&mut self, closing: u8) {
        self.open.push(closing);
        self.within = Within::Brackets;
    }
}

/// What a number, `true`, `false` and `null` are made of.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(reply: &str) -> Found {
        JsonScanner::default().look(reply.as_bytes())
    }

    #[test]
    fn every_kind_of_value_ends_where_it_ends() {
        for (reply, length) in [
            (r#"{"ok":true}"#, 11),
            ("{}x", 2),
            ("[]", 2),
            ("[[],[]]]", 7),
            (r#""a\"b" "#, 6),
            (r#""\\""#, 4),
            (r#"{"a":"\u005d]}","b":[{"c":"["}]}tail"#, 32),
            ("12.5e+3\n", 7),
            ("true,", 4),
            ("\r\n\t [1]", 7),
        ] {
            assert_eq!(look(reply), Found::Whole(length), "{reply}");
        }
        for reply in ["", " ", "{", r#"{"a":"}"#, r#""a\""#, "[[]", "12", "tru"] {
            assert_eq!(look(reply), Found::More(None), "{reply}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_at_its_first_byte_that_is_none() {
        for reply in ["<html>", "hello", "]", "\u{feff}{}", "[}", r#"{"a":1]"#] {
            assert!(matches!(look(reply), Found::Broken(_)), "{reply}");
        }
    }

    #[test]
    fn a_number_is_whole_when_the_server_closes_and_half_a_list_is_not() {
        for (reply, is_whole) in [("42", true), ("null", true), ("[42", false), ("\"a", false)] {
            let mut scanner = JsonScanner::default();
            scanner.look(reply.as_bytes());
            assert_eq!(scanner.is_whole_at_close(reply.as_bytes()), is_whole, "{reply}");
        }
    }
}
