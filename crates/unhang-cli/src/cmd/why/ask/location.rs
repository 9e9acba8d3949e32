//! Where a script is.

/// Where a script is.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) language: &'static str,
    pub(crate) file: String,
    pub(crate) line: Option<u32>,
    /// What runs there: the built-in function that the line calls, as `socket_read`, else the
    /// script's own, as `Client::ask`; `{main}` outside of any.
    pub(crate) function: String,
    /// The strings that the function's variables hold, as name (`$reply`) and escaped content
    /// without quotes. Empty unless asked for: they may be secrets.
    pub(crate) variables: Vec<(String, String)>,
}
