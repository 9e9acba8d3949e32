//! The time of day, told cheaply: to find out what a second is called costs as much as an
//! exchange, so each thread remembers the last one it told.

use std::cell::RefCell;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What one second is called.
struct Second {
    at: i64,
    /// Here, as `2026-11-24T09:41:12`.
    name: String,
    /// As `+01:00`.
    offset: String,
    /// In UTC, as `2026-11-24T08:41:12`.
    universal: String,
}

thread_local! {
    static LAST: RefCell<Second> = const {
        RefCell::new(Second {
            at: i64::MIN,
            name: String::new(),
            offset: String::new(),
            universal: String::new(),
        })
    };
}

/// As `09:41:12.871`.
pub(crate) fn write_time_of_day(text: &mut String) {
    tell(Timestamp::now(), |second, nanos| {
        // Seconds are of one length, up to the year 9999, where this clock ends.
        *text += second.name.get("2026-11-24T".len()..).unwrap_or_default();
        text.push('.');
        write_digits::<3>(nanos / 1_000_000, text);
    });
}

/// As `2026-11-24T09:41:12.871263541+01:00`.
pub(crate) fn write_time(text: &mut String) {
    tell(Timestamp::now(), |second, nanos| {
        *text += &second.name;
        text.push('.');
        write_digits::<9>(nanos, text);
        *text += &second.offset;
    });
}

/// As `2026-11-24T08:41:12.871263541Z`, without zeros at the end of the fraction.
pub(crate) fn timestamp() -> String {
    timestamp_of(Timestamp::now())
}

fn timestamp_of(now: Timestamp) -> String {
    let mut text = String::with_capacity("2026-11-24T08:41:12.871263541Z".len());
    tell(now, |second, nanos| {
        text += &second.universal;
        text.push('.');
        write_digits::<9>(nanos, &mut text);
    });
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    text.push('Z');
    text
}

/// The last digits of a number, by hand: `{:09}` took more than all else of a time.
fn write_digits<const N: usize>(mut number: u32, text: &mut String) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    // Digits are always text.
    *text += std::str::from_utf8(&digits).unwrap_or_default();
}

fn tell(now: Timestamp, how: impl FnOnce(&Second, u32)) {
    let nanos = now.subsec_nanosecond().unsigned_abs();
    LAST.with_borrow_mut(|last| {
        if last.at != now.as_second() {
            let here = now.to_zoned(TimeZone::system());
            last.at = now.as_second();
            last.name = here.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            last.offset = here.strftime("%:z").to_string();
            last.universal = now.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        how(last, nanos);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_is_told_as_the_calendar_has_it() {
        for at in [
            "2026-11-24T23:59:59.999999999Z",
            "2026-11-25T00:00:00.000000001Z",
            "2026-11-25T00:00:00.120000000Z",
            "2026-11-25T00:00:00Z",
            "2026-11-25T00:00:10Z",
        ] {
            let at: Timestamp = at.parse().unwrap();
            // Twice: found out, and remembered.
            for _ in 0..2 {
                tell(at, |second, nanos| {
                    let mut told = format!("{}.", second.name);
                    write_digits::<9>(nanos, &mut told);
                    told += &second.offset;
                    let here = at.to_zoned(TimeZone::system());
                    let expected = here.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
                    assert_eq!(told, expected);
                });
                assert_eq!(timestamp_of(at), at.to_string());
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
