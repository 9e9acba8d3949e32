//! The variables in which systemd says what it passes: pure text, so that it can be fuzzed.

use std::ffi::OsStr;

/// Whether a socket was passed, and to which process: `sd_listen_fds(3)`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// No socket.
    Nothing,
    /// One, to this process.
    ToUs,
    /// Some, to the process of this number.
    ToAnother(u32),
}

/// Reads `LISTEN_PID` and `LISTEN_FDS` in the process `own`.
///
/// # Errors
/// If one of them is no number, or if more than one socket was passed to this process.
pub(super) fn passed(
    pid: Option<&OsStr>,
    count: Option<&OsStr>,
    own: u32,
) -> Result<Passed, String> {
    let (Some(pid), Some(count)) = (pid, count) else { return Ok(Passed::Nothing) };
    let pid = number("LISTEN_PID", pid)?;
    match number("LISTEN_FDS", count)? {
        0 => Ok(Passed::Nothing),
        _ if pid != own => Ok(Passed::ToAnother(pid)),
        1 => Ok(Passed::ToUs),
        count => Err(format!(
            "expected one socket, got {count}: give each service a socket unit of its own"
        )),
    }
}

fn number(name: &str, value: &OsStr) -> Result<u32, String> {
    let text = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("expected a number in {name}, got {:?}", value.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(pid: &str, count: &str) -> Result<Passed, String> {
        super::passed(Some(pid.as_ref()), Some(count.as_ref()), 7)
    }

    #[test]
    fn a_socket_is_told_from_one_that_was_passed_to_another_process() {
        assert_eq!(passed("7", "1"), Ok(Passed::ToUs));
        assert_eq!(passed("8", "1"), Ok(Passed::ToAnother(8)));
        assert_eq!(passed("8", "2"), Ok(Passed::ToAnother(8)));
        assert_eq!(passed("7", "0"), Ok(Passed::Nothing));
        assert_eq!(super::passed(None, Some("1".as_ref()), 7), Ok(Passed::Nothing));
    }

    #[test]
    fn what_is_no_number_or_too_many_is_said() {
        assert!(passed("7", "2").unwrap_err().contains("expected one socket, got 2"));
        for bad in ["", "x", "-1", "+7", " 7", "7 ", "4294967296"] {
            assert!(passed(bad, "1").unwrap_err().contains("LISTEN_PID"), "{bad}");
            assert!(passed("7", bad).unwrap_err().contains("LISTEN_FDS"), "{bad}");
        }
    }
}
