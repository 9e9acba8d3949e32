//! The command's flags with units: what is shown can be written, and means the same.

// The command is a program, with nothing to link to.
#[allow(dead_code)]
#[path = "../../crates/unhang-cli/src/units.rs"]
mod flags;

use flags::{Mode, Size, Span, deadline};

/// Takes the input for each of them.
pub fn units(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(Span(span)) = text.parse() {
        let shown = Span(span).to_string();
        assert_eq!(shown.parse().ok().map(|Span(span)| span), Some(span), "{text:?}: {shown:?}");
    }
    assert!(!deadline(text).is_ok_and(|Span(span)| span.is_zero()));
    if let Ok(Mode(mode)) = text.parse() {
        assert!(mode <= 0o777);
        let shown = Mode(mode).to_string();
        assert_eq!(shown.parse().ok().map(|Mode(mode)| mode), Some(mode), "{text:?}: {shown:?}");
    }
    if let Ok(Size(size)) = text.parse() {
        // It is shown with one decimal place.
        let shown = Size(size).to_string();
        let read = shown.parse().ok().map(|Size(size)| size);
        let near = read.is_some_and(|read| read.abs_diff(size) <= size / 16);
        assert!(near, "{text:?}: {shown:?}, {read:?}");
    }
}
