//! Numbers as people read them.

use std::fmt;
use std::time::Duration;

/// With a comma between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// A number of which only so much matters: 0.05, 12.3, 41,234.
pub(super) fn rounded(number: f64) -> String {
    match number {
        // Not below zero, and far below what an integer holds.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        number if number >= 99.95 => grouped(number.round() as u64),
        number if number >= 9.995 => format!("{number:.1}"),
        number => format!("{number:.2}"),
    }
}

/// A time, to three digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took(pub(super) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let text = match seconds {
            seconds if seconds < 0.999_5e-6 => format!("{}ns", self.0.as_nanos()),
            seconds if seconds < 0.999_5e-3 => format!("{}µs", rounded(seconds * 1e6)),
            seconds if seconds < 0.999_5 => format!("{}ms", rounded(seconds * 1e3)),
            seconds => format!("{}s", rounded(seconds)),
        };
        f.pad(&text)
    }
}

/// So much for each of so many; nothing if there are none.
#[allow(clippy::cast_precision_loss)]
pub(super) fn each(all: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| all / count as f64)
}

/// The same for a time.
pub(super) fn time_each(all: Duration, count: u64) -> Option<Duration> {
    each(all.as_secs_f64(), count).map(Duration::from_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_kept_apart() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_time_has_three_digits_and_its_unit() {
        let cases = [
            (0, "0ns"),
            (950, "950ns"),
            (1_234, "1.23µs"),
            (12_345, "12.3µs"),
            (999_990, "1.00ms"),
            (1_234_567, "1.23ms"),
            (123_456_789, "123ms"),
            (5_000_000_000, "5.00s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(Took(Duration::from_nanos(nanos)).to_string(), text);
        }
    }

    #[test]
    fn nothing_is_nothing_for_each_of_none() {
        assert_eq!(each(1.0, 0), None);
        assert_eq!(time_each(Duration::from_secs(1), 4), Some(Duration::from_millis(250)));
    }
}
