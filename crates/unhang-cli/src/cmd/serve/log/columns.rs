//! Figures in columns, as `fmt` would show them: through it they were most of what a line took.

use std::fmt::Write as _;
use std::time::Duration;

use crate::units::Size;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// More than any column is wide.
const SPACES: &str = "                ";

/// As `{:<width}`: whatever it is stands at the left of its column.
pub(super) fn left(text: &mut String, width: usize, what: impl FnOnce(&mut String)) {
    let begin = text.len();
    what(text);
    *text += spaces(text, begin, width);
}

/// As `{:>width}`: it stands at the right.
pub(super) fn right(text: &mut String, width: usize, what: impl FnOnce(&mut String)) {
    let begin = text.len();
    what(text);
    text.insert_str(begin, spaces(text, begin, width));
}

/// What is missing in a column that begins there.
fn spaces(text: &str, begin: usize, width: usize) -> &'static str {
    let used = text.get(begin..).map_or(0, |what| what.chars().count());
    SPACES.get(..width.saturating_sub(used)).unwrap_or(SPACES)
}

/// As [`Size`] has it, which takes as much for one as the whole line.
pub(super) fn size(text: &mut String, bytes: usize) {
    let (unit, name) = match bytes {
        0..KIB => (1, "B"),
        KIB..MIB => (KIB, "KiB"),
        MIB..GIB => (MIB, "MiB"),
        _ => {
            // Into a string, which cannot fail.
            let _ = write!(text, "{}", Size(bytes));
            return;
        }
    };
    let (whole, tenth) = rounded(bytes as u64, unit as u64);
    number(text, whole);
    if tenth > 0 {
        text.push('.');
        number(text, tenth);
    }
    *text += name;
}

/// As `{:.1?}`.
pub(super) fn span(text: &mut String, span: Duration) {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let (unit, name) = match nanos {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (whole, tenth) = rounded(nanos, unit);
    number(text, whole);
    text.push('.');
    number(text, tenth);
    *text += name;
}

/// In units and their tenths, as `{:.1}`: a half goes to the even neighbour.
fn rounded(value: u64, unit: u64) -> (u64, u64) {
    let (whole, part) = (value / unit, value % unit * 10);
    let (tenth, rest) = (part / unit, part % unit);
    match rest * 2 + tenth % 2 > unit {
        true if tenth == 9 => (whole + 1, 0),
        true => (whole, tenth + 1),
        false => (whole, tenth),
    }
}

pub(super) fn number(text: &mut String, value: u64) {
    if value >= 10 {
        number(text, value / 10);
    }
    text.push(char::from(b'0' + (value % 10) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(what: impl FnOnce(&mut String)) -> String {
        let mut text = String::from("µ ");
        what(&mut text);
        text
    }

    #[test]
    fn a_column_is_as_wide_as_fmt_makes_it() {
        for what in ["", "1", "12.3µs", "1234567", "12345678", "123456789"] {
            assert_eq!(written(|text| left(text, 8, |text| *text += what)), format!("µ {what:<8}"));
            assert_eq!(
                written(|text| right(text, 8, |text| *text += what)),
                format!("µ {what:>8}")
            );
        }
    }

    #[test]
    fn a_number_has_the_digits_that_fmt_gives_it() {
        for value in [0, 1, 9, 10, 99, 100, 4_194_304, u64::MAX] {
            assert_eq!(written(|text| number(text, value)), format!("µ {value}"));
        }
    }

    #[test]
    fn a_size_is_as_its_unit_has_it() {
        let all = (0..4 * MIB).step_by(37).chain((0..1 << 34).step_by(4_321_064));
        // Halves between two tenths among them, and what is rounded up to the next unit.
        let edges = [KIB, 1280, 1792, 10_496, MIB, 5 * MIB / 4, GIB, 5 * GIB / 4, 1 << 40];
        for bytes in all.chain(edges.into_iter().flat_map(|edge| edge - 60..edge + 60)) {
            assert_eq!(written(|text| size(text, bytes)), format!("µ {}", Size(bytes)));
        }
        assert_eq!(written(|text| size(text, 1536)), "µ 1.5KiB");
    }

    /// At the ends of each unit, at halves between two tenths, and where it is rounded up to a thousand.
    #[test]
    fn a_span_is_as_fmt_has_it() {
        for unit in [1, 1_000, 1_000_000, 1_000_000_000, 60_000_000_000] {
            for share in
                [0, 1, 49, 50, 51, 149, 150, 151, 250, 999, 1_000, 999_949, 999_950, 999_951]
            {
                for off in [0, 1, -1] {
                    let nanos = (unit * share / 1_000_i64 + off).max(0);
                    let span = Duration::from_nanos(nanos.unsigned_abs());
                    assert_eq!(written(|text| super::span(text, span)), format!("µ {span:.1?}"));
                }
            }
        }
        assert_eq!(written(|text| span(text, Duration::from_nanos(12_250))), "µ 12.2µs");
        assert_eq!(written(|text| span(text, Duration::from_nanos(999_950))), "µ 1000.0µs");
    }
}
