//! What a server has sent, in a message for people.

use std::fmt::{self, Write};

/// The beginning of some bytes, so that they act on no terminal and fill no log: control characters, the
/// ones that turn the direction of text, and bytes that are no UTF-8 are escaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Excerpt<'a>(pub(super) &'a [u8]);

/// A few lines on a terminal. A longer reason says no more to people, and a log keeps it for ever.
const LONGEST: usize = 300;

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for chunk in self.0.utf8_chunks() {
            for one in chunk.valid().chars() {
                match acts(one) {
                    true => text.extend(one.escape_unicode()),
                    false => text.push(one),
                }
                if text.len() > LONGEST {
                    return f.write_str(cut(&text)).and_then(|()| f.write_char('…'));
                }
            }
            write!(text, "{}", chunk.invalid().escape_ascii())?;
        }
        f.write_str(&text)
    }
}

/// Whether it does something else than to stand there: a control character, or one that changes the
/// direction of the text around it or cannot be seen (Unicode Standard Annex 9, and zero-width ones).
fn acts(one: char) -> bool {
    one.is_control()
        || matches!(one, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn cut(text: &str) -> &str {
    let end = (0..=LONGEST).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_on_a_terminal_is_escaped() {
        let shown = Excerpt("a\x1b[31m\r\0\u{202e}b ü".as_bytes()).to_string();
        assert_eq!(shown, r"a\u{1b}[31m\u{d}\u{0}\u{202e}b ü");
        assert_eq!(Excerpt(b"a\xffb").to_string(), r"a\xffb");
    }

    #[test]
    fn what_is_long_is_cut_also_within_a_character() {
        for text in ["x".repeat(2_000_000), "ü".repeat(1_000), "\x1b".repeat(1_000)] {
            let shown = Excerpt(text.as_bytes()).to_string();
            assert!(shown.ends_with('…') && shown.len() <= LONGEST + 3, "{}", shown.len());
        }
        let whole = "x".repeat(LONGEST);
        assert_eq!(Excerpt(whole.as_bytes()).to_string(), whole);
    }
}
