//! The line that tells a client why it got no answer, there and back.

use crate::wire::oneshot::{error_line as line, error_reason};

/// Takes the input for a reason, and for a reply.
pub fn error_line(data: &[u8]) {
    let reason = String::from_utf8_lossy(data);
    let told = line(&reason);
    assert!(told.starts_with(b"ERR ") && told.ends_with(b"\n"));
    let plain = reason.replace(char::is_control, " ");
    assert_eq!(error_reason(&told), Some(&*plain), "it is read as it was meant");
    assert!(!plain.contains(char::is_control) && plain.chars().count() == reason.chars().count());

    if let Some(reason) = error_reason(data) {
        assert_eq!(format!("ERR {reason}\n").as_bytes(), data, "it is the whole reply");
        assert!(!reason.contains('\n'), "it is one line");
    }
}
