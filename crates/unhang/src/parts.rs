//! What a request and a reply have besides their bytes, as plain data.

use std::borrow::Cow;
use std::ops::Range;

/// What stood before a request's body: the method, and in HTTP the target and the headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestParts {
    /// As it came. One allocation for all of it; the ranges lie in it.
    head: Box<[u8]>,
    method: Range<u32>,
    target: Range<u32>,
    headers: Box<[(Range<u32>, Range<u32>)]>,
}

impl RequestParts {
    /// All other arguments are parts of `head`.
    pub(crate) fn new<'a>(
        head: &'a [u8],
        method: &'a str,
        target: &'a str,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
            range(start)..range(start.wrapping_add(part.len()))
        };
        Self {
            method: place(method.as_bytes()),
            target: place(target.as_bytes()),
            headers: headers.map(|(name, value)| (place(name.as_bytes()), place(value))).collect(),
            head: head.into(),
        }
    }

    /// The same with one more header, behind those that it has.
    pub(crate) fn with_header(&self, name: &str, value: &str) -> Self {
        let mut head = self.head.to_vec();
        let mut put = |text: &str| {
            let start = range(head.len());
            head.extend_from_slice(text.as_bytes());
            start..range(head.len())
        };
        let mut headers = self.headers.to_vec();
        headers.push((put(name), put(value)));
        Self {
            head: head.into(),
            method: self.method.clone(),
            target: self.target.clone(),
            headers: headers.into(),
        }
    }

    /// `POST`, or in Goridge `Service.Method`.
    pub(crate) fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// As it came: `/path?query`, or `*`, or a whole URL; empty in Goridge.
    pub(crate) fn target(&self) -> &str {
        self.text(&self.target)
    }

    /// The first header of that name, in whatever case it was written.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value))
    }

    /// All headers as they came: name and value.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (self.text(name), self.bytes(value)))
    }

    fn text(&self, place: &Range<u32>) -> &str {
        std::str::from_utf8(self.bytes(place)).unwrap_or_default()
    }

    fn bytes(&self, place: &Range<u32>) -> &[u8] {
        self.head.get(place.start as usize..place.end as usize).unwrap_or_default()
    }
}

/// A head is bounded by far less than 4 GiB; a place beyond it would lie outside of it anyway.
fn range(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// What stands before a reply's body, in wires that have such a thing (HTTP); others ignore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyHead<'a> {
    /// 200 to 599.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_found_in_the_head() {
        let head = b"GET /a HTTP/1.1\r\nHost: b\r\nX-Y: \xff\r\n\r\n".as_slice();
        let text = |place: Range<usize>| std::str::from_utf8(&head[place]).unwrap();
        let headers = [(text(17..21), &head[23..24]), (text(26..29), &head[31..32])];
        let parts = RequestParts::new(head, text(0..3), text(4..6), headers.into_iter());
        assert_eq!((parts.method(), parts.target()), ("GET", "/a"));
        assert_eq!(parts.header("HOST"), Some(&b"b"[..]));
        assert_eq!(parts.header("x-y"), Some(&b"\xff"[..]));
        assert_eq!(parts.header("x"), None);
        assert_eq!(parts.headers().collect::<Vec<_>>(), headers);
    }

    #[test]
    fn a_header_can_be_added() {
        let parts = RequestParts::default().with_header("a", "1").with_header("b", "2");
        assert_eq!((parts.header("A"), parts.header("b")), (Some(&b"1"[..]), Some(&b"2"[..])));
    }

    #[test]
    fn without_a_head_all_is_empty() {
        let parts = RequestParts::default();
        assert_eq!((parts.method(), parts.target(), parts.header("a")), ("", "", None));
    }
}
