//! Where a script is.

use serde::{Deserialize, Serialize};

/// Where one thread of a script is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Location {
    pub(crate) language: String,
    /// The kernel's number of the thread; None if only one runs scripts.
    pub(crate) thread: Option<u32>,
    /// Of the innermost call in the user's own code; if there is none, of the innermost.
    pub(crate) file: String,
    pub(crate) line: Option<u32>,
    /// PHP: what the line calls, as `socket_read`, else the function that it is in, as `Client::ask`;
    /// `{main}` outside of any. Python and Go: the function that the line is in.
    pub(crate) function: String,
    /// The line is in code of somebody else's: an installed package, or the language's own.
    pub(crate) is_library: bool,
    /// All calls that have not returned, innermost first.
    pub(crate) stack: Vec<Frame>,
    /// The strings that the function's variables hold, as name (`$reply`) and escaped content
    /// without quotes. Empty unless asked for: they may be secrets.
    pub(crate) variables: Vec<(String, String)>,
    /// The request that a page answers, as `GET /page.php`.
    pub(crate) request: Option<String>,
}

/// One call that has not returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frame {
    pub(crate) file: String,
    pub(crate) line: Option<u32>,
    pub(crate) function: String,
}
