//! Bytes as they are written on the command line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Bytes, of which those that no shell likes are written `\n`, `\r`, `\t`, `\0`, `\\` or `\xNN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data(pub(crate) Vec<u8>);

pub(crate) fn parse(text: &OsStr) -> Result<Data, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, after) = escaped(rest).ok_or_else(|| {
            let got: String =
                format!("\\{}", String::from_utf8_lossy(rest)).chars().take(4).collect();
            format!(
                "expected \\n, \\r, \\t, \\0, \\\\ or \\xNN with two hexadecimal digits, got {got}"
            )
        })?;
        bytes.push(byte);
        rest = after;
    }
    Ok(Data(bytes))
}

/// The byte that is meant by what follows a backslash, and the rest.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'n', rest @ ..] => Some((b'\n', rest)),
        [b'r', rest @ ..] => Some((b'\r', rest)),
        [b't', rest @ ..] => Some((b'\t', rest)),
        [b'0', rest @ ..] => Some((b'\0', rest)),
        [b'\\', rest @ ..] => Some((b'\\', rest)),
        [b'x', high, low, rest @ ..] => Some((digit(*high)? * 16 + digit(*low)?, rest)),
        _ => None,
    }
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_escape_is_the_byte_that_it_means() {
        let bytes = |text: &str| parse(text.as_ref()).unwrap().0;
        assert_eq!(bytes("ping"), b"ping");
        assert_eq!(bytes(r"a\nb\r\t\0\\n"), b"a\nb\r\t\0\\n");
        assert_eq!(bytes(r"\x00\xfF\x41B"), b"\x00\xff\x41B");
        assert_eq!(bytes("gr\u{fc}n"), "gr\u{fc}n".as_bytes());
        assert_eq!(bytes(""), b"");
        // A byte that is no text stands for itself.
        assert_eq!(parse(OsStr::from_bytes(b"\xff\\n")).unwrap().0, b"\xff\n");
    }

    #[test]
    fn what_is_no_escape_is_refused_with_what_was_given() {
        for (text, got) in [(r"a\q", r"\q"), (r"\x4", r"\x4"), (r"\xg0", r"\xg0"), ("\\", "\\")] {
            let error = parse(text.as_ref()).unwrap_err();
            assert!(error.contains(r"\xNN") && error.ends_with(got), "{error}");
        }
    }
}
