//! The variables in which systemd says what it passes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

// The command is a program, with nothing to link to.
#[allow(dead_code)]
#[path = "../../crates/unhang-cli/src/cmd/serve/systemd/variables.rs"]
mod variables;

use variables::{Passed, passed};

const OWN: u32 = 7;

/// The two variables with a NUL between them, or only the first.
pub fn systemd(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (pid, count) = (parts.next(), parts.next());
    let said = passed(pid.map(OsStr::from_bytes), count.map(OsStr::from_bytes), OWN);
    let number = |value: Option<&[u8]>| {
        let digits = value.filter(|value| value.iter().all(u8::is_ascii_digit))?;
        std::str::from_utf8(digits).ok()?.parse::<u32>().ok()
    };
    match (&said, number(pid), number(count)) {
        (Ok(Passed::Nothing), ..) if count.is_none() => {}
        (Ok(Passed::Nothing), Some(_), Some(0)) => {}
        (Ok(Passed::ToUs), Some(OWN), Some(1)) => {}
        (Ok(Passed::ToAnother(other)), Some(pid), Some(1..)) => assert_eq!(*other, pid),
        (Err(complaint), Some(OWN), Some(2..)) => assert!(complaint.contains("expected one")),
        (Err(complaint), None, _) | (Err(complaint), _, None) => {
            assert!(complaint.starts_with("expected a number in LISTEN_"), "{complaint}");
            assert!(!complaint.contains(char::is_control), "{complaint:?}");
        }
        _ => panic!("{:?} {:?}: {said:?}", pid.map(OsStr::from_bytes), count.map(OsStr::from_bytes)),
    }
    assert!(!matches!(said, Ok(Passed::ToAnother(OWN))));
}
