//! The time of day here, told cheaply: to find out what a second is called costs as much as an
//! exchange, so each thread remembers the last one it told.

use std::cell::RefCell;
use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What one second is called here.
struct Second {
    at: i64,
    /// As `2026-11-24T09:41:12`.
    name: String,
    /// As `+01:00`.
    offset: String,
}

thread_local! {
    static LAST: RefCell<Second> =
        const { RefCell::new(Second { at: i64::MIN, name: String::new(), offset: String::new() }) };
}

/// As `09:41:12.871`.
pub(crate) fn write_time_of_day(text: &mut String) {
    tell(Timestamp::now(), |second, nanos| {
        // Seconds are of one length, up to the year 9999, where this clock ends.
        *text += second.name.get("2026-11-24T".len()..).unwrap_or_default();
        // Into a string, which cannot fail.
        let _ = write!(text, ".{:03}", nanos / 1_000_000);
    });
}

/// As `2026-11-24T09:41:12.871263541+01:00`.
pub(crate) fn write_time(text: &mut String) {
    tell(Timestamp::now(), |second, nanos| {
        let _ = write!(text, "{}.{nanos:09}{}", second.name, second.offset);
    });
}

fn tell(now: Timestamp, how: impl FnOnce(&Second, u32)) {
    let nanos = now.subsec_nanosecond().unsigned_abs();
    LAST.with_borrow_mut(|last| {
        if last.at != now.as_second() {
            let here = now.to_zoned(TimeZone::system());
            last.at = now.as_second();
            last.name = here.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            last.offset = here.strftime("%:z").to_string();
        }
        how(last, nanos);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_told_as_the_calendar_has_it() {
        for at in ["2026-11-24T23:59:59.999999999Z", "2026-11-25T00:00:00.000000001Z"] {
            let at: Timestamp = at.parse().unwrap();
            // Twice: found out, and remembered.
            for _ in 0..2 {
                tell(at, |second, nanos| {
                    let told = format!("{}.{nanos:09}{}", second.name, second.offset);
                    let here = at.to_zoned(TimeZone::system());
                    let expected = here.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
                    assert_eq!(told, expected);
                });
            }
        }
    }

    #[test]
    fn the_time_of_day_has_milliseconds() {
        let mut text = String::from("at ");
        write_time_of_day(&mut text);
        let form = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c });
        assert_eq!(form.collect::<String>(), "at 00:00:00.000");
    }
}
