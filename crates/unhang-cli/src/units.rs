//! Flags with units: read from text and shown as text in the same form.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;

use crate::accounts;

/// A duration, as `5ms`, `10s` or `2m`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected a duration with its unit, as 5ms, 10s or 2m, got {text:?}");
        let span: SignedDuration = text.parse().map_err(|_| expected())?;
        Duration::try_from(span).map(Self).map_err(|_| expected())
    }
}

/// A duration that is not zero, for which some programs wait for ever and others not at all.
pub(crate) fn deadline(text: &str) -> Result<Span, String> {
    match text.parse()? {
        Span(Duration::ZERO) => {
            Err("expected a deadline above zero; to wait long, say 1h".to_owned())
        }
        span => Ok(span),
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(span) => write!(f, "{span:#}"),
            Err(_) => write!(f, "{:?}", self.0),
        }
    }
}

/// 1 EiB: more memory than any machine has, and less than a Rust value may take (`isize::MAX`).
const MOST: u64 = 1 << 60;

/// A number of bytes, as `64KiB` or `1MiB`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected a number of bytes, as 512, 64KiB or 1MiB, got {text:?}");
        // The parser takes "inf" and "NaN" for numbers, and anything above 16 EiB for just that.
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(expected());
        }
        let size: ByteSize = text.parse().map_err(|_| expected())?;
        let bytes = Some(size.as_u64()).filter(|&bytes| bytes <= MOST);
        bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| format!("expected a size of at most 1EiB, got {text:?}"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = ByteSize::b(self.0 as u64).display().iec().to_string();
        // "1.0 MiB" reads well, but is not how a flag is written.
        f.pad(&text.replace(".0 ", "").replace(' ', ""))
    }
}

/// A whole number of at least one, and at most `most`.
pub(crate) fn count<T>(most: T) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: Copy + From<u8> + PartialOrd + FromStr + fmt::Display,
{
    whole(T::from(1), most)
}

/// The same if there may be none.
pub(crate) fn count_or_none<T>(most: T) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: Copy + From<u8> + PartialOrd + FromStr + fmt::Display,
{
    whole(T::from(0), most)
}

fn whole<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: Copy + PartialOrd + FromStr + fmt::Display,
{
    move |text| match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("expected a whole number from {least} to {most}, got {text:?}")),
    }
}

/// Permission bits in octal, as `0660`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode(pub(crate) u32);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(format!("expected permission bits in octal, as 0660, got {text:?}")),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A user's id, by name or number.
pub(crate) fn user(name: &str) -> Result<u32, String> {
    number_or(name, "user", accounts::user)
}

/// A group's id, by name or number.
pub(crate) fn group(name: &str) -> Result<u32, String> {
    number_or(name, "group", accounts::group)
}

fn number_or(
    name: &str,
    what: &str,
    look_up: impl FnOnce(&str) -> io::Result<Option<u32>>,
) -> Result<u32, String> {
    match name.parse() {
        Ok(u32::MAX) => {
            return Err(format!("{name} is no {what}'s number: chown(2) takes it for no change"));
        }
        Ok(id) => return Ok(id),
        Err(_) => {}
    }
    match look_up(name) {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(format!(
            "expected a {what}'s name or number, got {name:?}, which this machine does not know"
        )),
        Err(error) => Err(format!("cannot look up the {what} {name:?}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_shown_as_it_may_be_written() {
        for (text, millis) in [("5ms", 5), ("10s", 10_000), ("2m", 120_000), ("1m 30s", 90_000)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string(), text);
        }
    }

    #[test]
    fn a_duration_without_a_unit_or_below_zero_is_refused_with_what_is_expected() {
        for text in ["5", "", "-5s", "fast"] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.contains("5ms, 10s or 2m") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn every_size_is_shown_as_it_may_be_written() {
        for (text, bytes) in
            [("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("16MiB", 16 << 20)]
        {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), text);
        }
        for text in ["99999999999999999999GB", "16EiB", "18446744073709551615"] {
            let error = text.parse::<Size>().unwrap_err();
            assert!(error.contains("at most 1EiB") && error.contains(text), "{error}");
        }
        for text in ["18446744073709551616", "inf", "NaN", "-1", "+1", "", " 1", "GB", "infGB"] {
            assert!(text.parse::<Size>().unwrap_err().contains("64KiB"), "{text}");
        }
        assert!("big".parse::<Size>().unwrap_err().contains("64KiB"));
    }

    #[test]
    fn a_number_that_is_none_or_out_of_bounds_is_refused_with_the_bounds_and_what_came() {
        assert_eq!((count(9)("1"), count(9)("9")), (Ok(1), Ok(9)));
        assert_eq!(count(usize::MAX)(&usize::MAX.to_string()), Ok(usize::MAX));
        assert_eq!(count_or_none(9)("0"), Ok(0));
        for text in ["0", "10", "-1", "1.5", "x", "", " 1", "99999999999999999999"] {
            let expected = format!("expected a whole number from 1 to 9, got {text:?}");
            assert_eq!(count(9)(text), Err(expected));
        }
        assert!(count_or_none(9)("-1").unwrap_err().contains("from 0 to 9"));
    }

    #[test]
    fn a_mode_is_octal_and_has_no_more_than_permission_bits() {
        assert_eq!("0660".parse::<Mode>().unwrap().0, 0o660);
        for text in ["0990", "rw", "4755", "1000"] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_user_may_be_a_name_or_a_number_and_must_exist() {
        assert_eq!(user("root"), Ok(0));
        assert_eq!(user("12345"), Ok(12_345));
        assert!(user("4294967295").unwrap_err().contains("no user's number"));
        assert!(group("no-such-group").unwrap_err().contains("no-such-group"));
    }
}
