//! What the bytes of a reply without an end look like, and so how a client may tell its end.

/// The first that fits. A guess: it is only ever told, never acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Http,
    Length,
    Nul,
    /// JSON with a newline behind it.
    JsonLine,
    Json,
    Lines,
    Other,
}

impl Shape {
    pub(super) fn of(reply: &[u8]) -> Self {
        if reply.starts_with(b"HTTP/1.") {
            return Self::Http;
        }
        if is_counted(reply) {
            return Self::Length;
        }
        let text = reply.trim_ascii();
        let is_json = matches!(
            (text.first(), text.last()),
            (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']'))
        );
        match reply.last() {
            Some(b'\0') => Self::Nul,
            Some(b'\n') if is_json => Self::JsonLine,
            Some(b'\n') => Self::Lines,
            _ if is_json => Self::Json,
            _ => Self::Other,
        }
    }

    /// What to do. It names the flag of `unhang call`; the client of the library has the same words.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Http => {
                "This is HTTP, which keeps connections open: ask with an HTTP client, such as curl \
                 --unix-socket."
            }
            Self::Length => {
                "Its first four bytes count those behind them: stop there with --reply-ends length=4. Or \
                 the server must close (or half-close) the connection after its reply."
            }
            Self::Nul => {
                "It ends with a NUL byte: if each reply does, stop there with --reply-ends 'delimiter=\\0'. \
                 Or the server must close (or half-close) the connection after its reply."
            }
            Self::JsonLine => {
                "It is JSON and ends with a newline: if each reply does, stop there with --reply-ends \
                 newline, or json if it has newlines within. Or the server must close (or half-close) the \
                 connection after its reply."
            }
            Self::Json => {
                "It looks like whole JSON without a newline: if so, stop there with --reply-ends json. Or \
                 the server must close (or half-close) the connection after its reply."
            }
            Self::Lines => {
                "It ends with a newline: if each reply is one line, stop there with --reply-ends newline. \
                 Or the server must close (or half-close) the connection after its reply."
            }
            Self::Other => {
                "Nothing in these bytes shows an end: the server must close (or half-close) the connection \
                 after its reply. As a last resort, take a silence for the end: --reply-ends quiet=500ms."
            }
        }
    }
}

/// Whether four bytes say how many follow.
fn is_counted(reply: &[u8]) -> bool {
    reply.split_first_chunk::<4>().is_some_and(|(number, rest)| {
        !rest.is_empty() && u32::from_be_bytes(*number) as usize == rest.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_show_which_end_a_client_can_wait_for() {
        for (reply, shape) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Shape::Http),
            (b"\0\0\0\x02ok", Shape::Length),
            (b"{\"ok\":true}", Shape::Json),
            (b"[1,\n2]", Shape::Json),
            (b"{\"ok\":true}\n", Shape::JsonLine),
            (b"OK\n", Shape::Lines),
            (b"{\"a\":1}\0", Shape::Nul),
            (b"OK", Shape::Other),
            (b"{\"ok\":", Shape::Other),
            (b"", Shape::Other),
        ] {
            assert_eq!(Shape::of(reply), shape, "{:?}", reply.escape_ascii().to_string());
        }
    }
}
