//! The end of a JSON value, by its brackets and strings alone (RFC 8259): what is inside is not checked.
//! Pure bytes, piece by piece.

/// Brackets within brackets, at most: each takes a byte here until it closes, and a reply may be longer than
/// memory. PHP reads 512 by default, Python about 1,000.
const DEEPEST: usize = 1 << 16;

const BROKEN: &str = "expected JSON, got a byte that begins no value";
const CROSSED: &str = "expected JSON, got a bracket that closes another one than was opened";
const TOO_DEEP: &str = "expected JSON, got brackets within more than 65,536 others";

/// What was seen of one value so far.
#[derive(Debug, Default)]
pub(crate) struct JsonEnd {
    /// The brackets that are open, each by the one that closes it.
    open: Vec<u8>,
    within: Within,
}

/// How far a value got in a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    /// It ends after so many bytes of this piece.
    End(usize),
    More,
    /// It is none, and why.
    Broken(&'static str),
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

impl JsonEnd {
    /// Takes the next bytes.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Json {
        for (at, &byte) in piece.iter().enumerate() {
            if self.within == Within::Word && !is_word(byte) {
                return Json::End(at);
            }
            match self.step(byte) {
                Ok(true) => return Json::End(at + 1),
                Ok(false) => {}
                Err(why) => return Json::Broken(why),
            }
        }
        Json::More
    }

    /// Whether the end of the bytes is that of the value: a number is not known to be whole before.
    pub(crate) fn is_whole_at_close(&self) -> bool {
        self.within == Within::Word
    }

    /// Whether the value ends with this byte.
    fn step(&mut self, byte: u8) -> Result<bool, &'static str> {
        match (self.within, byte) {
            (Within::Before, b' ' | b'\t' | b'\r' | b'\n') => {}
            (Within::Before | Within::Brackets, b'"') | (Within::Escape, _) => {
                self.within = Within::String;
            }
            (Within::Before | Within::Brackets, b'{') => self.opened(b'}')?,
            (Within::Before | Within::Brackets, b'[') => self.opened(b']')?,
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

    fn opened(&mut self, closing: u8) -> Result<(), &'static str> {
        if self.open.len() == DEEPEST {
            return Err(TOO_DEEP);
        }
        self.open.push(closing);
        self.within = Within::Brackets;
        Ok(())
    }
}

/// What a number, `true`, `false` and `null` are made of.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever the bytes are cut in two.
    fn look(reply: &str) -> Json {
        let reply = reply.as_bytes();
        let whole = JsonEnd::default().take(reply);
        for cut in 0..=reply.len() {
            let mut end = JsonEnd::default();
            let found = match end.take(&reply[..cut]) {
                Json::More => match end.take(&reply[cut..]) {
                    Json::End(at) => Json::End(cut + at),
                    other => other,
                },
                other => other,
            };
            assert_eq!(found, whole, "cut at {cut} of {}", reply.escape_ascii());
        }
        whole
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
            assert_eq!(look(reply), Json::End(length), "{reply}");
        }
        for reply in ["", " ", "{", r#"{"a":"}"#, r#""a\""#, "[[]", "12", "tru"] {
            assert_eq!(look(reply), Json::More, "{reply}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_at_its_first_byte_that_is_none() {
        for reply in ["<html>", "hello", "]", "\u{feff}{}", "[}", r#"{"a":1]"#] {
            assert!(matches!(look(reply), Json::Broken(_)), "{reply}");
        }
    }

    #[test]
    fn a_number_is_whole_when_the_server_closes_and_half_a_list_is_not() {
        for (reply, is_whole) in [("42", true), ("null", true), ("[42", false), ("\"a", false)] {
            let mut end = JsonEnd::default();
            end.take(reply.as_bytes());
            assert_eq!(end.is_whole_at_close(), is_whole, "{reply}");
        }
    }

    #[test]
    fn brackets_without_an_end_take_bounded_memory() {
        let mut end = JsonEnd::default();
        assert_eq!(end.take(&vec![b'['; DEEPEST]), Json::More);
        assert_eq!(end.take(b"["), Json::Broken(TOO_DEEP));
    }
}
