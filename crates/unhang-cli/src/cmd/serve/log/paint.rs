//! The colours of the log.

use anstyle::{AnsiColor, Reset, Style};

/// Colours, for people who want them.
#[derive(Clone, Default)]
pub(super) struct Paint {
    pub(super) good: String,
    pub(super) bad: String,
    pub(super) dim: String,
    /// Ends each of them.
    pub(super) end: String,
}

impl Paint {
    /// Decided once: to take the colours out of every line again would cost more than to write it.
    pub(super) fn for_stdout() -> Self {
        match anstream::AutoStream::choice(&std::io::stdout()) {
            anstream::ColorChoice::Never => Self::default(),
            _ => Self {
                good: AnsiColor::Green.on_default().to_string(),
                bad: AnsiColor::Red.on_default().to_string(),
                dim: Style::new().dimmed().to_string(),
                end: Reset.to_string(),
            },
        }
    }
}
