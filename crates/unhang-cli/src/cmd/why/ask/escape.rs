//! A stranger's text, made safe to print.

/// A string's content: all escaped that could harm a terminal or hide where the text ends.
pub(super) fn content(bytes: &[u8]) -> String {
    escape(bytes, &['\''])
}

/// A name or a path. Quotes end nothing here, and PHP's names have backslashes in them.
pub(super) fn name(bytes: &[u8]) -> String {
    escape(bytes, &['\'', '"', '\\'])
}

fn escape(bytes: &[u8], plain: &[char]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                plain_one if plain.contains(&plain_one) => text.push(plain_one),
                other => text.extend(other.escape_debug()),
            }
        }
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_cannot_harm_a_terminal_or_hide_its_end() {
        assert_eq!(
            content("naïve 'x' \"y\"\t\u{9b}\u{202e}".as_bytes()),
            r#"naïve 'x' \"y\"\t\u{9b}\u{202e}"#
        );
        assert_eq!(content(b"\xff\x00A\xc3"), r"\xff\0A\xc3");
        assert_eq!(name("Unhang\\Client\u{202e}".as_bytes()), r"Unhang\Client\u{202e}");
    }
}
