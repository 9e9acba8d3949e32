//! What a request and a reply have besides their bytes, as plain data.

use std::borrow::Cow;
use std::ops::Range;

/// What stood before a request's body: the method, and in HTTP the target and the headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestParts {
    /// As it came; all ranges lie in it.
    head: Box<[u8]>,
    method: Range<u32>,
    target: Range<u32>,
    headers: Box<[(Range<u32>, Range<u32>)]>,
}

/// What stands before a reply's body, in wires that have such a thing (HTTP); others ignore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyHead<'a> {
    pub(crate) status: u16,
    pub(crate) headers: &'a [Header],
}

/// A header's name and value.
pub(crate) type Header = (Cow<'static, str>, Cow<'static, str>);

impl Default for ReplyHead<'_> {
    fn default() -> Self {
        Self { status: 200, headers: &[] }
    }
}
