//! The end of one JSON value, by its brackets and strings alone (RFC 8259).

use super::Found;

#[derive(Debug, Default)]
pub(in crate::backend::forward) struct Json {
    depth: usize,
    within: Within,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    /// White space before the value.
    #[default]
    Before,
    Brackets,
    String,
    /// Behind a backslash.
    Escape,
    /// A number, `true`, `false` or `null`: it ends with the byte behind it, or the close.
    Word,
}

impl Json {
    pub(super) fn take(&mut self, piece: &[u8]) -> Found {
        for (at, byte) in piece.iter().enumerate() {
            self.within = match (self.within, byte) {
                (Within::Before, b' ' | b'\t' | b'\r' | b'\n') => Within::Before,
                (Within::Before | Within::Brackets, b'"') | (Within::Escape, _) => Within::String,
                (Within::Before | Within::Brackets, b'{' | b'[') => {
                    self.depth += 1;
                    Within::Brackets
                }
                (Within::Brackets, b'}' | b']') => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Found::End(at + 1);
                    }
                    Within::Brackets
                }
                (Within::String, b'\\') => Within::Escape,
                (Within::String, b'"') if self.depth == 0 => return Found::End(at + 1),
                (Within::String, b'"') | (Within::Brackets, _) => Within::Brackets,
                (Within::String, _) => Within::String,
                (Within::Before, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Within::Word,
                (Within::Before, _) => return Found::Broken("a byte that begins no JSON value"),
                (Within::Word, b'+' | b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E') => {
                    Within::Word
                }
                (Within::Word, _) => return Found::End(at),
            };
        }
        Found::More
    }

    pub(super) fn may_close(&self) -> bool {
        self.within == Within::Word
    }
}
