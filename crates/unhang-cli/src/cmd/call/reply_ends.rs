//! `--reply-ends`: one word, or a word and a value.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use unhang::{LengthPrefix, ReplyEnds};

use crate::data;
use crate::units::{self, Span};

const EXPECTED: &str = "expected close, newline, delimiter=DATA, length=1|2|4|8 (or 2le, 4le, 8le), json or quiet=DURATION";

/// A delimiter need not be text.
pub(super) fn parse(text: &OsStr) -> Result<ReplyEnds, String> {
    let expected = || format!("{EXPECTED}, got {text:?}");
    let bytes = text.as_bytes();
    if let Some(delimiter) = bytes.strip_prefix(b"delimiter=") {
        return match data::parse(OsStr::from_bytes(delimiter))?.0 {
            empty if empty.is_empty() => Err(expected()),
            delimiter => Ok(ReplyEnds::AtDelimiter(delimiter)),
        };
    }
    let text = text.to_str().ok_or_else(expected)?;
    match (text, text.split_once('=')) {
        ("close", _) => Ok(ReplyEnds::AtClose),
        ("newline", _) => Ok(ReplyEnds::AtNewline),
        ("json", _) => Ok(ReplyEnds::AfterJson),
        (_, Some(("length", bytes))) => {
            length(bytes).map(ReplyEnds::AfterLength).ok_or_else(expected)
        }
        (_, Some(("quiet", span))) => {
            let Span(quiet) = units::deadline(span)?;
            Ok(ReplyEnds::AfterQuiet(quiet))
        }
        _ => Err(expected()),
    }
}

fn length(bytes: &str) -> Option<LengthPrefix> {
    Some(match bytes {
        "1" => LengthPrefix::U8,
        "2" => LengthPrefix::U16Be,
        "2le" => LengthPrefix::U16Le,
        "4" => LengthPrefix::U32Be,
        "4le" => LengthPrefix::U32Le,
        "8" => LengthPrefix::U64Be,
        "8le" => LengthPrefix::U64Le,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        parse(OsStr::new(text)).map(|ends| format!("{ends:?}"))
    }

    #[test]
    fn every_word_is_read_and_what_is_none_is_told_all_of_them() {
        for (text, ends) in [
            ("close", "AtClose"),
            ("newline", "AtNewline"),
            (r"delimiter=\0", "AtDelimiter([0])"),
            ("delimiter==", "AtDelimiter([61])"),
            ("length=4", "AfterLength(U32Be)"),
            ("length=8le", "AfterLength(U64Le)"),
            ("json", "AfterJson"),
            ("quiet=500ms", "AfterQuiet(500ms)"),
        ] {
            assert_eq!(read(text).unwrap(), ends);
        }
        for text in ["", "never", "length=3", "length", "delimiter=", "json=1", "quiet"] {
            assert!(read(text).unwrap_err().starts_with(EXPECTED), "{text}");
        }
        assert!(read("quiet=0s").unwrap_err().contains("above zero"));
        assert!(read(r"delimiter=\q").unwrap_err().contains(r"\xNN"));
    }
}
